"""What the benchmark of batches starts from: points, their graph and their lists, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.knn import knn
from scrcl.graph.partition import Partition, partition
from scrcl.graph.rows import row_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray

__all__ = ["Points", "clustered_points", "prepared"]

BLOCK_ROWS = 65_536


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
            partition(rows, seed=0, list_rows=list_cells).save(partial / "partition")
    graph, lists = Graph.load(folder / "graph"), Partition.load(folder / "partition")
    if graph.n != len(rows):
        message = f"{folder} must hold the graph of {len(rows)} cells; got {graph.n}. Delete it."
        raise SystemExit(message)
    return Points(rows, graph, lists)


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
