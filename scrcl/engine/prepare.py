"""The stages before training: read, stats, features, reduce, graph, genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.device import resolve_device
from scrcl.engine.stage import CSR
from scrcl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.stage import Run
    from scrcl.graph.knn import KnnResult

__all__ = ["build_genes", "build_graph", "compute_stats", "read", "reduce", "select_features"]


def read(run: Run, folder: Path) -> dict[str, Any]:
    """Open the input; one that cannot be streamed by rows is rewritten by rows into ``folder``."""
    matrix = run.open_matrix(folder)
    if matrix.layout == "csc":
        matrix.x(run.budget.block_rows)  # the first look at rows writes them
    return {
        "n_cells": matrix.n_obs,
        "n_genes": matrix.n_vars,
        "layout": matrix.layout,
        "dtype": str(matrix.dtype),
        "stored_values": matrix.nnz,
        "chunk_rows": matrix.chunk_rows,
    }


def compute_stats(run: Run, folder: Path) -> dict[str, Any]:
    """One read of X: counts and genes of each cell, moments of each gene, counts or log values."""
    from scrcl.io.stats import compute_stats as stream_stats

    matrix = run.matrix
    stats = stream_stats(
        matrix.x(run.budget.block_rows),
        n_workers=run.budget.n_workers,
        on_rows=run.count("stats", matrix.n_obs),
        cell_names=matrix.obs.index,
        gene_names=matrix.var.index,
    )
    n_kept, n_seen = int((stats.cell_counts > 0).sum()), int((stats.gene_cells > 0).sum())
    _require_enough(run, n_kept, n_seen)
    if stats.already_log:
        run.reporter.note("the values are not counts; they are taken as log-normalised.")
    stats.save(folder)
    return {
        "n_cells": matrix.n_obs,
        "n_cells_kept": n_kept,
        "n_genes_seen": n_seen,
        "is_counts": bool(stats.is_counts),
        "already_log": bool(stats.already_log),
        "median_genes_per_cell": float(np.median(stats.cell_genes)),
    }


def select_features(run: Run, folder: Path) -> dict[str, Any]:
    """Choose the variable genes; a second read of X writes them normalised, and their Gram matrix."""
    from scrcl.io.features import write_features
    from scrcl.io.hvg import seurat_hvg
    from scrcl.io.stats import MatrixStats

    stats = MatrixStats.load(run.stage("stats"))
    seen = np.flatnonzero(stats.gene_cells > 0)
    chosen, table = seurat_hvg(
        stats.gene_mean[seen], stats.gene_var[seen], n_top=run.config.features.n_top_genes
    )
    table.to_csv(folder / "genes.csv", index=False)
    np.save(folder / "seen.npy", seen)
    store = write_features(
        run.matrix.x(run.budget.block_rows),
        folder,
        rows=stats.cell_counts > 0,
        genes=seen[chosen],
        already_log=stats.already_log,
        n_workers=run.budget.n_workers,
        on_rows=run.count("features", run.matrix.n_obs),
    )
    np.save(folder / "genes.npy", seen[chosen])
    return {"n_cells": store.n_obs, "n_genes": store.n_vars}


def reduce(run: Run, folder: Path) -> dict[str, Any]:
    """Principal components from the Gram matrix; scores by streaming the feature store."""
    from scrcl.graph.project import fit_pca, project_rows
    from scrcl.io.features import FeatureStore

    store = FeatureStore.open(run.stage("features"))
    n_comps = min(run.config.reduce.n_comps, store.n_obs - 1, store.n_vars)
    pca = fit_pca(store.gram(), store.sums(), store.n_obs, n_comps=n_comps)
    pca.save(folder / "pca.npz")
    project_rows(
        store,
        pca,
        folder / "scores.npy",
        n_workers=run.budget.n_workers,
        on_rows=run.count("reduce", store.n_obs),
    )
    return {
        "n_cells": store.n_obs,
        "n_comps": len(pca.singular_values),
        "variance_explained": float(pca.explained_variance_ratio.sum()),
    }


def build_graph(run: Run, folder: Path) -> dict[str, Any]:
    """Nearest neighbours of the cells, and the symmetric binary graph of them."""
    from scrcl.graph.csr import describe, symmetric_graph

    found = _neighbours(run)
    np.save(folder / "ids.npy", found.ids)
    np.save(folder / "distances.npy", found.distances)
    graph = symmetric_graph(found.ids)
    graph.save(folder / CSR)
    return {
        "n_cells": graph.n,
        "n_neighbors": found.ids.shape[1],
        "backend": found.backend,
        "recall": found.recall,
        **describe(graph),
    }


def build_genes(run: Run, folder: Path) -> dict[str, Any]:
    """Nearest neighbours of the genes on the gene sketch (loadings times singular values)."""
    from scrcl.graph.csr import describe
    from scrcl.graph.genes import gene_graph
    from scrcl.graph.project import Pca, gene_sketch

    sketch = gene_sketch(Pca.load(run.stage("reduce") / "pca.npz"))
    graph = gene_graph(sketch, run.config.genes.n_neighbors)
    graph.save(folder / CSR)
    np.save(folder / "sketch.npy", sketch)
    return {"n_genes": graph.n, **describe(graph)}


def _neighbours(run: Run) -> KnnResult:
    from scrcl.graph.knn import knn
    from scrcl.graph.spatial import spatial_knn
    from scrcl.io.stats import MatrixStats

    config = run.config.graph
    if run.config.spatial:
        kept = MatrixStats.load(run.stage("stats")).cell_counts > 0
        return spatial_knn(np.asarray(run.matrix.obsm["spatial"])[kept], config.n_neighbors)
    scores = run.array("reduce", "scores")
    return knn(
        scores,
        config.n_neighbors,
        seed=run.config.seed,
        backend=config.backend,
        recall_target=config.recall,
        device=resolve_device(run.config.device),
        on_rows=run.count("graph", len(scores)),
    )


def _require_enough(run: Run, n_cells: int, n_genes: int) -> None:
    smallest = run.config.graph.n_neighbors + 2
    if n_cells < smallest:
        message = (
            f"cells with counts must be at least {smallest} for {smallest - 2} neighbours; "
            f"got {n_cells}. Lower graph.n_neighbors, or check the input."
        )
        raise InputError(message)
    if n_genes < 2:
        message = f"genes seen in any cell must be at least 2; got {n_genes}. Check the input."
        raise InputError(message)
    if run.config.n_clusters != "auto" and run.config.n_clusters > n_cells:
        message = (
            f"n_clusters must be at most the number of cells with counts ({n_cells}); "
            f"got {run.config.n_clusters}."
        )
        raise InputError(message)
