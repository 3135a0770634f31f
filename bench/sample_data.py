"""What the benchmark of batches starts from: points, their graph and their lists, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.kmeans import kmeans
from scrcl.graph.knn import knn
from scrcl.graph.partition import Partition
from scrcl.graph.rows import row_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["Points", "clustered_points", "lists_of", "prepared"]

BLOCK_ROWS = 65_536
POINTS_PER_CENTROID = 40
ITERATIONS = 10


@dataclass(frozen=True, eq=False)
class Points:
    """Cells as the sampler and the model see them."""

    rows: FloatArray
    """shape (n_cells, n_dims)"""
    graph: Graph
    partition: Partition


def prepared(rows: FloatArray, folder: Path, *, n_neighbors: int, list_cells: int) -> Points:
    """Return graph and lists of ``rows``, from ``folder`` where they are there already."""
    if not folder.is_dir():
        with atomic_folder(folder) as partial:
            found = knn(rows, n_neighbors, seed=0)
            symmetric_graph(found.ids).save(partial / "graph")
            lists_of(rows, list_cells).save(partial / "partition")
    graph, partition = Graph.load(folder / "graph"), Partition.load(folder / "partition")
    if graph.n != len(rows):
        message = f"{folder} must hold the graph of {len(rows)} cells; got {graph.n}. Delete it."
        raise SystemExit(message)
    return Points(rows, graph, partition)


def lists_of(rows: FloatArray, list_cells: int) -> Partition:
    """k-means lists of about ``list_cells`` cells, in the order of a greedy walk from the first."""
    n_lists = max(len(rows) // list_cells, 2)
    found = kmeans(
        rows,
        n_lists,
        seed=0,
        n_init=1,
        n_iter=ITERATIONS,
        max_points_per_centroid=POINTS_PER_CENTROID,
    )
    walk = _greedy_walk(found.centroids)
    place = np.empty(n_lists, np.int64)
    place[walk] = np.arange(n_lists)
    rank = place[found.labels]
    starts = np.concatenate([[0], np.cumsum(np.bincount(rank, minlength=n_lists))])
    return Partition(found.centroids[walk], np.argsort(rank, kind="stable"), starts)


def clustered_points(n_cells: int, n_dims: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Draw points around one centre a thousand of them, the centres themselves in a few groups."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(scale=4, size=(12, n_dims))
    centres = groups[rng.integers(12, size=max(n_cells // 1000, 12))]
    centres = centres + rng.normal(scale=1.5, size=centres.shape)
    rows = np.empty((n_cells, n_dims), np.float32)
    for start, stop in row_blocks(n_cells, BLOCK_ROWS):
        own = centres[rng.integers(len(centres), size=stop - start)]
        rows[start:stop] = own + rng.normal(size=own.shape)
    return rows


def _greedy_walk(centroids: FloatArray) -> IntArray:
    """Return the order in which one goes on to the nearest centroid not yet seen."""
    left = np.ones(len(centroids), np.bool_)
    walk = np.zeros(len(centroids), np.int64)
    left[0] = False
    for step in range(1, len(centroids)):
        away = np.square(centroids - centroids[walk[step - 1]]).sum(axis=1)
        walk[step] = np.argmin(np.where(left, away, np.inf))
        left[walk[step]] = False
    return walk
