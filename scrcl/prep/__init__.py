"""From rows of counts to principal component scores.

The modules in the order of the work:

1. `compute_stats` reads the matrix once and returns `stats.MatrixStats`: totals of each cell and moments
   of each gene. Its compiled loops are in `stats_kernels`.
2. `hvg` selects highly variable genes from the moments. The flavor ``seurat_v3`` also needs sums of
   clipped counts from a second read (`clipped_variance`).
3. `feature_store` writes the normalised values (`normalize`) of the selected genes to disk, with their
   Gram matrix (`gram`).
4. `pca` fits principal components to the Gram matrix and projects the cells. `randomized_pca` fits them to
   the rows where the Gram matrix would be too large.
"""
