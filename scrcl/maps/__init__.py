"""Cells and clusters on the plane: UMAP, PAGA and the dendrogram."""
