"""The locality of a graph: how many edges stay inside contiguous reads of its rows, for a given order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._compiled import compiled
from scrcl.graph.renumber import positions_in
from scrcl.io.arrays import index_dtype, release

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import IntArray

__all__ = ["locality"]


class _Locality(NamedTuple):
    """What reads contain, over all reads that an order is divided into."""

    inside: float
    """Share of edges with both ends in one read; 1 without edges"""
    halo: float
    """Rows that a read needs beyond its own, per own row: neighbours in other reads, each counted once per read"""


def locality(graph: Graph, read_rows: int, order: IntArray | None = None) -> _Locality:
    """Divide the rows, in ``order``, into reads of ``read_rows``, and count where their neighbours are.

    Parameters
    ----------
    graph
        Graph on n nodes; its rows are read once, in the order.
    read_rows
        Rows of a read.
    order
        ndarray of int, shape (n,): the nodes in the order they are stored; 0, 1, ... if None.

    Returns
    -------
    Locality
        ``inside``, the share of edges with both ends in one read, and ``halo``, the number of rows beyond its own that
        a read needs per own row. Memory is 8 bytes per node (16 if there are more than 2^31).
    """
    n, dtype = graph.n, index_dtype(graph.n)
    nodes = np.arange(n, dtype=dtype) if order is None else np.asarray(order)
    positions = positions_in(nodes)
    seen = np.full(n, -1, dtype)
    n_inside, n_halo = compiled(_count)(
        graph.indptr, graph.indices, nodes, positions, seen, read_rows
    )
    release(graph.indices)
    return _Locality(
        n_inside / max(len(graph.indices), 1) if len(graph.indices) else 1.0, n_halo / max(n, 1)
    )


def _count(
    indptr: IntArray,
    indices: IntArray,
    nodes: IntArray,
    positions: IntArray,
    seen: IntArray,
    read_rows: int,
) -> tuple[int, int]:
    """Return the number of edges inside reads, and of distinct neighbours outside, summed over reads."""
    n_inside = n_halo = 0
    for at in range(len(nodes)):
        read = at // read_rows
        for edge in range(indptr[nodes[at]], indptr[nodes[at] + 1]):
            other = indices[edge]
            if positions[other] // read_rows == read:
                n_inside += 1
            # ``seen`` holds the last read that needed a node. Reads come one after the other, so it never has to be
            # cleared.
            elif seen[other] != read:
                seen[other] = read
                n_halo += 1
    return n_inside, n_halo
