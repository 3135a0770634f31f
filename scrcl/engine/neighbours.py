"""The stages from components to graphs: graph, genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.covariates import read_named
from scrcl.engine.device import resolve_device
from scrcl.engine.stage import CSR, PARTITION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl.engine.covariates import Named
    from scrcl.engine.stage import Run
    from scrcl.graph.backends import Search
    from scrcl.graph.csr import Graph
    from scrcl.graph.knn import KnnResult
    from scrcl.graph.partition import Partition
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray

__all__ = ["build_genes", "build_graph"]

READ_ROWS = 4_096
"""Rows of a read that the order of cells is measured by."""


def build_graph(run: Run, folder: Path) -> dict[str, Any]:
    """Nearest neighbours of the cells, and the symmetric binary graph of them.

    What the user should know of the graph is noted, and recorded for the report.
    """
    from scrcl.graph.balanced import cross_share
    from scrcl.graph.csr import symmetric_graph
    from scrcl.graph.statistics import degree_counts, describe
    from scrcl.prep.stats import MatrixStats

    kept = MatrixStats.load(run.stage("stats")).kept
    named = read_named(run.matrix, run.config).of(kept)
    lists = _partition(run, named)
    lists.save(folder / PARTITION)
    found = _neighbours(run, named, lists, folder)
    graph = symmetric_graph(found.ids, folder / CSR, mode=run.config.graph.symmetry)
    np.save(folder / "degrees.npy", degree_counts(graph))
    n_alone = int(np.count_nonzero(found.ids[:, 0] < 0))
    notes = list(_notes(run, named, n_alone))
    for note in notes:
        run.reporter.note(note)
    across = {
        f"cross_{kind}_share": cross_share(graph, column.codes)
        for kind, column in (("batch", named.batches), ("sample", named.samples))
        if column is not None
    }
    return {
        "n_cells": graph.n,
        "n_neighbors": found.ids.shape[1],
        "backend": found.backend,
        "recall": found.recall,
        "search": dict(found.effort),
        **describe(graph, found.ids),
        "n_alone": n_alone,
        **across,
        "locality": _locality(graph, lists),
        "notes": notes,
    }


def build_genes(run: Run, folder: Path) -> dict[str, Any]:
    """Nearest neighbours of the genes, on their sketch or from all cells, and how far both agree."""
    from scrcl.graph.genes import exact_neighbors, gene_graph, overlap, sketched_neighbors
    from scrcl.graph.statistics import describe
    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import Pca, gene_sketch

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


def _partition(run: Run, named: Named) -> Partition:
    """Cut the cells into lists, of the space that their neighbours are searched in."""
    from scrcl.graph.partition import partition

    points: FloatArray
    if named.coordinates is not None:
        points = _apart(named.coordinates, named.samples)
    else:
        points = run.array("reduce", "scores")
    return partition(points, seed=run.config.seed, n_workers=_n_workers(run))


def _n_workers(run: Run) -> int:
    """Return as many threads as there are cores, and memory for."""
    from scrcl.io.arrays import cores

    return min(cores(), run.budget.n_workers)


def _apart(coordinates: FloatArray, samples: CellLabels | None) -> FloatArray:
    """Lay samples beside each other, further apart than they are wide."""
    points: FloatArray = coordinates - coordinates.min(axis=0)
    points = points / max(float(points.max()), 1e-30)
    return points if samples is None else np.column_stack([points, 2.0 * samples.codes])


def _locality(graph: Graph, lists: Partition) -> dict[str, Any]:
    """How much of the graph a read of rows holds, of the cells as they came and by partition."""
    from scrcl.graph.locality import locality

    as_read, ordered = locality(graph, READ_ROWS), locality(graph, READ_ROWS, lists.order)
    return {
        "rows": READ_ROWS,
        "edges_inside": as_read.inside,
        "halo_rows": as_read.halo,
        "edges_inside_ordered": ordered.inside,
        "halo_rows_ordered": ordered.halo,
    }


def _neighbours(run: Run, named: Named, lists: Partition, folder: Path) -> KnnResult:
    """Search, and leave ``ids.npy`` and ``distances.npy`` in the folder."""
    from scrcl.graph.spatial import spatial_knn

    config = run.config.graph
    if named.coordinates is not None:
        found = spatial_knn(
            named.coordinates, config.n_neighbors, samples=named.samples, radius=config.radius
        )
    elif config.balanced and named.batches is not None:
        found = _balanced(run, run.array("reduce", "scores"), named.batches)
    else:
        return _by_expression(run, folder, lists)
    np.save(folder / "ids.npy", found.ids)
    np.save(folder / "distances.npy", found.distances)
    return found


def _by_expression(run: Run, folder: Path, lists: Partition) -> KnnResult:
    """Find nearest cells by the components; ids and distances are files of the folder."""
    from scrcl.graph.knn import knn

    scores = run.array("reduce", "scores")
    return knn(
        scores,
        run.config.graph.n_neighbors,
        seed=run.config.seed,
        search=_search(run),
        partition=lists,
        folder=folder,
        n_workers=_n_workers(run),
        on_rows=run.count("graph", len(scores)),
    )


def _search(run: Run) -> Search:
    """Return how the settings ask to search."""
    from scrcl.graph.backends import Search

    config = run.config.graph
    return Search(config.backend, config.recall, resolve_device(run.config.device))


def _balanced(run: Run, scores: FloatArray, batches: CellLabels) -> KnnResult:
    from scrcl.graph.backends import Searcher, SearchTask, choose, make_searcher
    from scrcl.graph.balanced import balanced_knn
    from scrcl.graph.exact import ExactSearcher

    search, k, seed = _search(run), run.config.graph.n_neighbors, run.config.seed

    def searcher(points: FloatArray) -> Searcher:
        backend = choose(search, *points.shape, n_queries=len(scores))
        # Searches that walk along a graph of the batch need more cells than that.
        backend = "exact" if len(points) < 2 * k + 32 else backend
        return make_searcher(backend, points, SearchTask(k=k, seed=seed, device=search.device))

    n_batches = len(np.unique(batches.codes))
    return balanced_knn(
        scores,
        batches.codes,
        k,
        seed=seed,
        make_searcher=searcher,
        make_exact=ExactSearcher,
        recall=search.recall,
        on_rows=run.count("graph", len(scores) * n_batches, "searches"),
    )


def _notes(run: Run, named: Named, n_alone: int) -> Iterator[str]:
    k = run.config.graph.n_neighbors
    if named.coordinates is not None and named.samples is None and "samples" in run.matrix.identity:
        yield (
            "The inputs were laid over each other in one space, and cells of two may be neighbours: "
            "sample_key keeps slices apart (the column sample tells the inputs)."
        )
    if named.samples is not None:
        sizes = np.bincount(named.samples.codes)
        n_small = int(np.count_nonzero((sizes > 0) & (sizes <= k)))
        if n_small:
            yield f"{n_small:,} samples have {k} cells or fewer: these cells have fewer neighbours."
    if n_alone:
        n = len(run.array("reduce", "scores"))
        where = "" if named.samples is None else " of their sample"
        where += "" if run.config.graph.radius is None else " within graph.radius"
        yield f"{n_alone:,} of {n:,} cells ({n_alone / n:.1%}) have no other cell{where}."
    if run.config.graph.balanced and named.batches is not None:
        n_batches = len(np.unique(named.batches.codes))
        if n_batches > k:
            yield (
                f"There are {n_batches:,} batches, more than graph.n_neighbors ({k}): each gives a cell "
                f"one neighbour, {n_batches:,} in all."
            )
