"""A graph with its nodes in another order, made by blocks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.graph.csr import Graph
from scrcl.io.arrays import index_dtype, release, row_blocks
from scrcl.io.parts import row_starts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["places", "renumbered"]

BLOCK_ROWS = 65_536


def places(order: IntArray) -> IntArray:
    """Return where each row is in ``order``: shape (n,), int32 where that holds n.

    Raises
    ------
    InputError
        When ``order`` does not hold every row once.
    """
    n = len(order)
    place = np.full(n, -1, index_dtype(n))
    if n and 0 <= order.min() <= order.max() < n:
        place[order] = np.arange(n, dtype=place.dtype)
    if (place < 0).any():
        msg = (
            f"order must hold each of its {n} rows once; got one that leaves out row "
            f"{int(np.argmin(place))}. Build the partition again."
        )
        raise InputError(msg)
    return place


def renumbered(
    graph: Graph, order: IntArray, folder: Path | None = None, *, block_rows: int = BLOCK_ROWS
) -> Graph:
    """Return the graph whose node ``r`` is node ``order[r]`` of ``graph``.

    Parameters
    ----------
    graph
        Rows are read in the order: where it is a memory map, at random, and let go after each block.
    order
        ndarray or memory map of int, shape (n,): every node once.
    folder
        Where to write it, whole or absent; None keeps all in memory.
    block_rows
        Rows at work at once; changes no result. Beside them, 28 bytes a node are held.

    Raises
    ------
    InputError
        When ``order`` does not hold every node once.
    """
    if order.shape != (graph.n,):
        msg = (
            f"order must hold the graph's {graph.n} nodes; got shape {order.shape}. "
            "Give the partition of the same cells."
        )
        raise InputError(msg)
    place, indptr = places(order), row_starts(graph.degrees[order])
    blocks = _blocks(graph, order, place, indptr, block_rows)
    if folder is None:
        edges = np.empty(len(graph.indices), graph.indices.dtype)
        for start, rows in blocks:
            edges[start : start + len(rows)] = rows
        return Graph(indptr, edges)
    with atomic_folder(folder) as partial:
        np.save(partial / "indptr.npy", indptr)
        head = {"descr": graph.indices.dtype.str, "fortran_order": False}
        with (partial / "indices.npy").open("wb") as out:
            np.lib.format.write_array_header_1_0(out, head | {"shape": (len(graph.indices),)})
            for _, rows in blocks:
                out.write(rows.data)
    return Graph.load(folder)


def _blocks(
    graph: Graph, order: IntArray, place: IntArray, indptr: NDArray[np.int64], block_rows: int
) -> Iterator[tuple[int, IntArray]]:
    """Yield where the edges of each block begin, and these."""
    indices = np.asarray(graph.indices)
    for start, stop in row_blocks(graph.n, block_rows):
        rows = np.empty(indptr[stop] - indptr[start], indices.dtype)
        nodes = np.asarray(order[start:stop], np.int64)
        compiled(_renumber)(graph.indptr, indices, nodes, place, rows)
        release(graph.indices)
        yield int(indptr[start]), rows


def _renumber(
    indptr: np.ndarray, indices: np.ndarray, nodes: np.ndarray, place: np.ndarray, rows: np.ndarray
) -> None:
    """Fill ``rows`` with the places of the nodes' neighbours, ascending in each row."""
    first = 0
    for node in nodes:
        last = first
        for edge in range(indptr[node], indptr[node + 1]):
            rows[last] = place[indices[edge]]
            last += 1
        rows[first:last].sort()
        first = last
