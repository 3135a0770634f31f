"""A graph with its nodes in another order, made in blocks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.graph.csr import Graph
from scrcl.io.arrays import index_dtype, release, row_blocks, row_starts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["positions_in", "renumbered"]

_BLOCK_ROWS = 65_536


def positions_in(order: IntArray) -> IntArray:
    """Return the position of each row in ``order``, its inverse: shape (n,), int32 if that can number n rows.

    Raises
    ------
    InputError
        ``order`` does not hold every row once.
    """
    n = len(order)
    positions = np.full(n, -1, index_dtype(n))
    if n and 0 <= order.min() <= order.max() < n:
        positions[order] = np.arange(n, dtype=positions.dtype)
    if (positions < 0).any():
        message = (
            f"order must hold each of its {n} rows once; got one without row "
            f"{int(np.argmin(positions))}. Build the partition again."
        )
        raise InputError(message)
    return positions


def renumbered(
    graph: Graph, order: IntArray, folder: Path | None = None, *, block_rows: int = _BLOCK_ROWS
) -> Graph:
    """Return the graph whose node ``r`` is node ``order[r]`` of ``graph``.

    Parameters
    ----------
    graph
        Its rows are read in the new order. Reads of a memory map are thus random, and its pages are released after
        each block.
    order
        ndarray or memory map of int, shape (n,): every node once.
    folder
        Where to write the graph, which is complete or absent. If None, all is in memory.
    block_rows
        Rows held at once. It changes no result. 28 bytes per node come on top.

    Raises
    ------
    InputError
        ``order`` does not hold every node once.
    """
    if order.shape != (graph.n,):
        message = (
            f"order must hold the graph's {graph.n} nodes; got shape {order.shape}. "
            "Give the partition of the same cells."
        )
        raise InputError(message)
    positions, indptr = positions_in(order), row_starts(graph.degrees[order])
    blocks = _blocks(graph, order, positions, indptr, block_rows)
    if folder is None:
        edges = np.empty(len(graph.indices), graph.indices.dtype)
        for start, rows in blocks:
            edges[start : start + len(rows)] = rows
        return Graph(indptr, edges)
    with atomic_folder(folder) as partial:
        np.save(partial / "indptr.npy", indptr)
        header = {"descr": graph.indices.dtype.str, "fortran_order": False}
        with (partial / "indices.npy").open("wb") as out:
            np.lib.format.write_array_header_1_0(out, header | {"shape": (len(graph.indices),)})
            for _, rows in blocks:
                out.write(rows.data)
    return Graph.load(folder)


def _blocks(
    graph: Graph, order: IntArray, positions: IntArray, indptr: NDArray[np.int64], block_rows: int
) -> Iterator[tuple[int, IntArray]]:
    """Yield the first edge of each block of rows, and the edges of the block."""
    indices = np.asarray(graph.indices)
    for start, stop in row_blocks(graph.n, block_rows):
        rows = np.empty(indptr[stop] - indptr[start], indices.dtype)
        nodes = np.asarray(order[start:stop], np.int64)
        compiled(_renumber)(graph.indptr, indices, nodes, positions, rows)
        release(graph.indices)
        yield int(indptr[start]), rows


def _renumber(
    indptr: np.ndarray,
    indices: np.ndarray,
    nodes: np.ndarray,
    positions: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Fill ``rows`` with the new numbers of the nodes' neighbours, ascending in each row."""
    first = 0
    for node in nodes:
        last = first
        for edge in range(indptr[node], indptr[node + 1]):
            rows[last] = positions[indices[edge]]
            last += 1
        # New numbers are in no order, and `Graph` promises ascending rows. A row is short, so sorting it is cheap.
        rows[first:last].sort()
        first = last
