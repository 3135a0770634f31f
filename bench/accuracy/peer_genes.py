"""The cells and genes that peers get, as scanpy selects them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["COUNTS", "selected"]

N_GENES = 2_000
COUNTS = "counts"


def selected(path: Path) -> Any:
    """Return AnnData with log values of the 2,000 most variable genes, and their counts in ``layers["counts"]``.

    Cells and genes without any count are left out.
    """
    import scanpy as sc

    adata = sc.read_h5ad(path)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.filter_genes(adata, min_cells=1)
    adata.layers[COUNTS] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if adata.n_vars > N_GENES:
        sc.pp.highly_variable_genes(adata, n_top_genes=N_GENES)
        adata = adata[:, adata.var["highly_variable"]].copy()
    return adata
