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
    from scrcl.graph.csr import symmetric_graph
    from scrcl.graph.statistics import degree_counts, describe

    found = _neighbours(run)
    np.save(folder / "ids.npy", found.ids)
    np.save(folder / "distances.npy", found.distances)
    graph = symmetric_graph(found.ids, folder / CSR, mode=run.config.graph.symmetry)
    np.save(folder / "degrees.npy", degree_counts(graph))
    return {
        "n_cells": graph.n,
        "n_neighbors": found.ids.shape[1],
        "backend": found.backend,
        "recall": found.recall,
        **describe(graph, found.ids),
    }


def build_genes(run: Run, folder: Path) -> dict[str, Any]:
    """Nearest neighbours of the genes on the gene sketch (loadings times singular values)."""
    from scrcl.graph.genes import gene_graph
    from scrcl.graph.project import Pca, gene_sketch
    from scrcl.graph.statistics import describe

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
