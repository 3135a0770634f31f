"""The points of the mini-batch benchmark, their graph and their partition lists, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.divide import partition
from scrcl.graph.knn import knn
from scrcl.graph.renumber import renumbered
from scrcl.io.arrays import row_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["Points", "clustered_points", "prepared_points"]

BLOCK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Points:
    """Cells as the sampler and the model see them."""

    rows: FloatArray
    """shape (n_cells, n_dims), of cell 0, 1, ..."""
    graph: Graph
    """with nodes in the order of a partition"""
    cells: IntArray
    """shape (n_cells,): the cell of each node"""


def prepared_points(rows: FloatArray, folder: Path, *, n_neighbors: int, list_cells: int) -> Points:
    """Return the graph of ``rows`` in the order of its partition lists; read from ``folder`` if it is there."""
    if not folder.is_dir():
        with atomic_folder(folder) as partial:
            found = knn(rows, n_neighbors, seed=0)
            order = partition(rows, seed=0, list_rows=list_cells).order
            renumbered(symmetric_graph(found.ids), order, partial / "graph")
            np.save(partial / "cells.npy", order)
    graph, cells = Graph.load(folder / "graph"), np.load(folder / "cells.npy", mmap_mode="r")
    if graph.n != len(rows):
        message = f"{folder} must hold the graph of {len(rows)} cells; got {graph.n}. Delete it."
        raise SystemExit(message)
    return Points(rows, graph, cells)


def clustered_points(n_cells: int, n_dims: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Draw points around centers, about a thousand each; the centers themselves lie in a few groups."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(scale=4, size=(12, n_dims))
    centers = groups[rng.integers(12, size=max(n_cells // 1000, 12))]
    centers = centers + rng.normal(scale=1.5, size=centers.shape)
    rows = np.empty((n_cells, n_dims), np.float32)
    for start, stop in row_blocks(n_cells, BLOCK_ROWS):
        own = centers[rng.integers(len(centers), size=stop - start)]
        rows[start:stop] = own + rng.normal(size=own.shape)
    return rows
