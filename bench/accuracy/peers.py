"""The peers of scrcl: a space and a clustering of it, by scanpy, scikit-learn and scvi-tools.

``python -m bench.accuracy.peers METHOD,METHOD INPUT --k K --seeds 0,1 --out DIR`` clusters the cells of one file by
each method with each seed. A method is named after its space (``pca``, or scVI's latent space) and its clustering.
Methods get the number of labels, and no label; ``pca_leiden_1`` does not use the number.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.accuracy.peer_genes import selected
from bench.accuracy.scvi import latent, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "PCA_METHODS",
    "SCVI_METHODS",
    "SECONDS_FILE",
    "by_kmeans",
    "by_leiden",
    "by_leiden_1",
    "by_leiden_on",
    "components",
]

SECONDS_FILE = "seconds.json"
"""Seconds of each method and seed, for its space and its clustering, without imports; in the folder of the labels"""

N_COMPS = 50
N_NEIGHBORS = 15


def components(path: Path, *, seed: int) -> Any:
    """Return scanpy's 50 principal component scores of the log values of selected genes: shape (n_cells, n_comps)."""
    import scanpy as sc

    adata = selected(path)
    sc.pp.pca(adata, n_comps=min(N_COMPS, min(adata.shape) - 1), random_state=seed)
    return adata.obsm["X_pca"]


def by_kmeans(points: Any, k: int, *, seed: int) -> Any:
    """Return the clusters of k-means++ with 10 restarts."""
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=10, random_state=seed).fit_predict(points)


def _by_ward(points: Any, k: int, *, seed: int) -> Any:
    """Return the clusters of Ward's linkage over all cells; memory grows with their square."""
    from sklearn.cluster import AgglomerativeClustering

    del seed
    return AgglomerativeClustering(k, linkage="ward").fit_predict(points)


def by_leiden(points: Any, k: int, *, seed: int) -> Any:
    """Return Leiden communities of the 15-neighbour graph, at a resolution that gives K of them."""
    return _leiden_at_k(_with_graph(points, seed), k, seed=seed)


def by_leiden_1(points: Any, k: int, *, seed: int) -> Any:
    """Return Leiden communities of the 15-neighbour graph at resolution 1, whatever K is."""
    del k
    return _leiden(_with_graph(points, seed), 1.0, seed)


def _by_linkage(points: Any, k: int, *, seed: int) -> Any:
    """Return the clusters that scrcl finds in the space with its default settings."""
    from scrcl.cluster.find import cluster
    from scrcl.cluster.settings import ClusterSettings

    return cluster(np.asarray(points, np.float32), k, settings=ClusterSettings(), seed=seed)


def _leiden_at_k(adata: Any, k: int, *, seed: int, tries: int = 40) -> Any:
    """Return Leiden labels with K clusters, or as near to K as bisection of the resolution comes."""
    low, high = 1e-3, 8.0
    best = None
    for _ in range(tries):
        resolution = float(np.sqrt(low * high))
        labels = _leiden(adata, resolution, seed)
        n = int(labels.max()) + 1
        if best is None or abs(n - k) < abs(best[0] - k):
            best = (n, labels)
        if n == k:
            break
        low, high = (resolution, high) if n < k else (low, resolution)
    assert best is not None
    return best[1]


def by_leiden_on(graph: Any, k: int | None, *, seed: int) -> Any:
    """Return Leiden communities of a graph, sparse and symmetric: K of them, or those at resolution 1 without K."""
    import anndata

    adata = anndata.AnnData(shape=(graph.shape[0], 0), obsp={"connectivities": graph})
    adata.uns["neighbors"] = {"connectivities_key": "connectivities", "params": {}}
    return _leiden(adata, 1.0, seed) if k is None else _leiden_at_k(adata, k, seed=seed)


def _with_graph(points: Any, seed: int) -> Any:
    import anndata
    import scanpy as sc

    adata = anndata.AnnData(obsm={"X_space": points}, shape=(len(points), 0))
    sc.pp.neighbors(adata, n_neighbors=N_NEIGHBORS, use_rep="X_space", random_state=seed)
    return adata


def _leiden(adata: Any, resolution: float, seed: int) -> Any:
    import scanpy as sc

    sc.tl.leiden(
        adata, resolution=resolution, random_state=seed, flavor="igraph", n_iterations=2,
        directed=False,
    )  # fmt: skip
    return adata.obs["leiden"].cat.codes.to_numpy().copy()


SPACES = {"pca": components, "scvi": latent}

PCA_METHODS = {
    "pca_kmeans": by_kmeans,
    "pca_leiden": by_leiden,
    "pca_leiden_1": by_leiden_1,
    "pca_ward": _by_ward,
}
SCVI_METHODS = {"scvi_kmeans": by_kmeans, "scvi_leiden": by_leiden, "scvi_linkage": _by_linkage}
METHODS = PCA_METHODS | SCVI_METHODS


def _clustered(
    path: Path, methods: list[str], k: int, seeds: list[int], points: Path | None
) -> Iterator[tuple[str, Any, float]]:
    """Yield ``METHOD_SEED``, the labels and the seconds of each method and seed."""
    _import_all(methods)
    for seed in seeds:
        spaces: dict[str, tuple[Any, float]] = {}
        for method in methods:
            space = method.partition("_")[0]
            if space not in spaces:
                start = time.perf_counter()
                rows = (
                    np.load(points / f"{path.stem}_{seed}.npy")
                    if points
                    else SPACES[space](path, seed=seed)
                )
                spaces[space] = rows, time.perf_counter() - start
            rows, took = spaces[space]
            start = time.perf_counter()
            labels = METHODS[method](rows, k, seed=seed)
            yield f"{method}_{seed}", labels, took + time.perf_counter() - start


def _import_all(methods: list[str]) -> None:
    """Load and compile what the methods share, so that it counts in no method's seconds."""
    import scanpy  # noqa: F401
    import sklearn.cluster  # noqa: F401

    if any("leiden" in method for method in methods):
        _with_graph(np.random.default_rng(0).normal(size=(100, 5)), 0)


def main() -> None:
    """Cluster one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods")
    parser.add_argument("input", type=Path)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument(
        "--points", type=Path, help="folder of STEM_SEED.npy, the space of the cells"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    methods, seeds = args.methods.split(","), [int(seed) for seed in args.seeds.split(",")]
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        parser.error(f"METHOD must be some of {', '.join(METHODS)}; got {', '.join(unknown)}.")
    if args.points is None and (lacking := missing(methods)):
        parser.error(lacking)
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    took = {}
    for name, labels, seconds in _clustered(args.input, methods, args.k, seeds, args.points):
        np.save(args.out / f"{name}.npy", labels)
        took[name] = seconds
    (args.out / SECONDS_FILE).write_text(json.dumps(took), encoding="utf-8")


if __name__ == "__main__":
    main()
