"""What scrcl is compared with: PCA and a clustering, through scanpy and scikit-learn.

``python -m bench.peers METHOD INPUT --k K --seed S --out labels.npy`` clusters the cells of one file. No label
is read here but their number, which is given.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["METHODS", "leiden_at_k"]

N_COMPS = 50
N_NEIGHBORS = 15


def scores(path: Path, *, seed: int) -> Any:
    """AnnData with ``obsm["X_pca"]``: counts filtered, normalised, logged, 2,000 genes, 50 PCs (as scanpy does)."""
    import scanpy as sc

    adata = sc.read_h5ad(path)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.filter_genes(adata, min_cells=1)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if adata.n_vars > 2_000:
        sc.pp.highly_variable_genes(adata, n_top_genes=2_000)
        adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.pca(adata, n_comps=min(N_COMPS, min(adata.shape) - 1), random_state=seed)
    return adata


def pca_kmeans(adata: Any, k: int, *, seed: int) -> Any:
    """k-means++ with 10 restarts on the components."""
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=10, random_state=seed).fit_predict(adata.obsm["X_pca"])


def pca_leiden(adata: Any, k: int, *, seed: int) -> Any:
    """Leiden on the 15-neighbour graph at a resolution that gives K clusters."""
    import scanpy as sc

    sc.pp.neighbors(adata, n_neighbors=N_NEIGHBORS, use_rep="X_pca", random_state=seed)
    return leiden_at_k(adata, k, seed=seed)


def leiden_at_k(adata: Any, k: int, *, seed: int, tries: int = 40) -> Any:
    """Leiden labels with K clusters, or as near to K as bisection of the resolution comes."""
    import scanpy as sc

    low, high = 1e-3, 8.0
    best = None
    for _ in range(tries):
        resolution = float(np.sqrt(low * high))
        sc.tl.leiden(
            adata, resolution=resolution, random_state=seed, flavor="igraph", n_iterations=2,
            directed=False,
        )  # fmt: skip
        labels = adata.obs["leiden"].cat.codes.to_numpy()
        n = int(labels.max()) + 1
        if best is None or abs(n - k) < abs(best[0] - k):
            best = (n, labels.copy())
        if n == k:
            break
        low, high = (resolution, high) if n < k else (low, resolution)
    assert best is not None
    return best[1]


METHODS = {"pca_kmeans": pca_kmeans, "pca_leiden": pca_leiden}


def main() -> None:
    """Cluster one file with one method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("input", type=Path)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    adata = scores(args.input, seed=args.seed)
    np.save(args.out, METHODS[args.method](adata, args.k, seed=args.seed))


if __name__ == "__main__":
    main()
