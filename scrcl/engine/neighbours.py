"""The stages from components to graphs: graph, genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.device import resolve_device
from scrcl.engine.stage import CSR

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.stage import Run
    from scrcl.graph.knn import KnnResult

__all__ = ["build_genes", "build_graph"]


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
    """Nearest neighbours of the genes, on their sketch or from all cells, and how far both agree."""
    from scrcl.graph.csr import describe
    from scrcl.graph.genes import exact_neighbors, gene_graph, overlap, sketched_neighbors
    from scrcl.graph.project import Pca, gene_sketch
    from scrcl.io.features import FeatureStore

    config = run.config.genes
    store, pca = FeatureStore.open(run.stage("features")), Pca.load(run.stage("reduce") / "pca.npz")
    k, metric = config.n_neighbors, config.metric
    ids = sketched = sketched_neighbors(pca, store.n_obs, k, metric=metric)
    shared = None
    if store.has_gram:
        exact = exact_neighbors(store.gram(), store.sums(), store.n_obs, k, metric=metric)
        shared = overlap(sketched, exact)
        ids = sketched if config.source == "sketch" else exact
    graph = gene_graph(ids)
    graph.save(folder / CSR)
    np.save(folder / "sketch.npy", gene_sketch(pca))
    return {
        "n_genes": graph.n,
        "metric": metric,
        "source": config.source,
        "n_genes_undefined": int((ids == -1).all(axis=1).sum()),
        "sketch_overlap": shared,
        **describe(graph),
    }


def _neighbours(run: Run) -> KnnResult:
    from scrcl.graph.knn import knn
    from scrcl.graph.spatial import spatial_knn
    from scrcl.io.stats import MatrixStats

    config = run.config.graph
    if run.config.spatial:
        kept = MatrixStats.load(run.stage("stats")).kept
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
