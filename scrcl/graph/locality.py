"""How much of a graph lies inside contiguous reads of its rows, in a given order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._compiled import compiled
from scrcl.io.arrays import index_dtype, release

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import IntArray

__all__ = ["Locality", "locality"]


class Locality(NamedTuple):
    """What reads of so many rows hold, over all reads that an order is cut into."""

    inside: float
    """Share of the edges whose two ends are in one read; 1 where there is no edge."""
    halo: float
    """Rows that a read needs besides its own (neighbours elsewhere, each once), for each of its own."""


def locality(graph: Graph, read_rows: int, order: IntArray | None = None) -> Locality:
    """Cut the rows, in ``order``, into reads of ``read_rows``, and see where their neighbours are.

    Parameters
    ----------
    graph
        Graph on n nodes; read once, a row at a time, in the order.
    order
        ndarray of int, shape (n,): the nodes in the order they are stored; 0, 1, ... where None.

    Returns
    -------
    Locality
        Memory is 8 bytes a node (16 where there are more than 2^31).
    """
    n, dtype = graph.n, index_dtype(graph.n)
    nodes = np.arange(n, dtype=dtype) if order is None else np.asarray(order)
    place = np.empty(n, dtype)
    place[nodes] = np.arange(n, dtype=dtype)
    seen = np.full(n, -1, dtype)
    n_inside, n_halo = compiled(_count)(graph.indptr, graph.indices, nodes, place, seen, read_rows)
    release(graph.indices)
    return Locality(
        n_inside / max(len(graph.indices), 1) if len(graph.indices) else 1.0, n_halo / max(n, 1)
    )


def _count(
    indptr: IntArray,
    indices: IntArray,
    nodes: IntArray,
    place: IntArray,
    seen: IntArray,
    read_rows: int,
) -> tuple[int, int]:
    """Return the edges inside a read, and the distinct neighbours outside of each."""
    n_inside = n_halo = 0
    for at in range(len(nodes)):
        read = at // read_rows
        for edge in range(indptr[nodes[at]], indptr[nodes[at] + 1]):
            other = indices[edge]
            if place[other] // read_rows == read:
                n_inside += 1
            elif seen[other] != read:
                seen[other] = read
                n_halo += 1
    return n_inside, n_halo
