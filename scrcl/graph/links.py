"""Links of new points to a graph: the rows they would have in its normalised adjacency.

A graph of nearest neighbours joins two points if either has the other among its k nearest (or if both do). The
nearest points of a new point are searched for. Whether it would be among the k nearest of a point of the graph is
known from distances: it is, if it is nearer than the k-th neighbour of that point. Edges and degrees of the graph
stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scrcl.io.arrays import row_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph, Symmetry
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = ["Links", "are_neighbours", "normalized_links"]


@dataclass(frozen=True, eq=False)
class Links:
    """Rows of new points in the normalised adjacency ``D^-1/2 (A + I) D^-1/2``.

    Attributes
    ----------
    nodes
        ndarray of int64, shape (n_nodes,), ascending: the points of the graph that are neighbours of new points.
    weights
        CSR of float32, shape (n_new, n_nodes).
    own
        ndarray of float32, shape (n_new,): the weight of each new point itself.
    """

    nodes: NDArray[np.int64]
    weights: Csr
    own: NDArray[np.float32]

    def smooth(self, rows: FloatArray, of_nodes: FloatArray) -> NDArray[np.float32]:
        """Return the rows of the new points, averaged with those of their neighbours.

        Parameters
        ----------
        rows
            ndarray of float32, shape (n_new, n_columns).
        of_nodes
            ndarray of float32, shape (n_nodes, n_columns).
        """
        return np.asarray(self.weights @ of_nodes + self.own[:, None] * rows, np.float32)


def are_neighbours(
    ids: IntArray, squared: FloatArray, reach: FloatArray, k: int, *, mode: Symmetry
) -> BoolArray:
    """Return which candidates of new points are their neighbours.

    Parameters
    ----------
    ids, squared
        ndarrays of int and float, shape (n_new, n_found), ascending in each row: more than ``k`` near points, and
        their squared distances. An id of -1 is no candidate.
    reach
        ndarray of float, shape (n_points,): distance of each point of the graph to its k-th neighbour.
    k
        Number of nearest neighbours of a point.
    mode
        The mode of the graph; see `scrcl.graph.csr.symmetric_graph`.

    Returns
    -------
    ndarray of bool, shape (n_new, n_found)
    """
    is_nearest = np.broadcast_to(np.arange(ids.shape[1]) < k, ids.shape)
    # An id of -1 looks up point 0 here; it is dropped at the end.
    within_reach = np.sqrt(squared) < reach[np.maximum(ids, 0)]
    found: BoolArray = is_nearest & within_reach if mode == "mutual" else is_nearest | within_reach
    return found & (ids >= 0)


def normalized_links(ids: IntArray, neighbours: BoolArray, graph: Graph) -> Links:
    """Return the weights of the neighbours of new points. A neighbour has its degree in the graph.

    Parameters
    ----------
    ids
        ndarray of int, shape (n_new, n_found): candidates.
    neighbours
        ndarray of bool, of that shape: which candidates are neighbours.
    graph
        The graph that the candidates are nodes of.
    """
    counts = neighbours.sum(axis=1)
    nodes, columns = np.unique(ids[neighbours], return_inverse=True)
    scale = 1 / np.sqrt(counts + 1.0)
    values = np.repeat(scale, counts) * graph.inverse_sqrt_degrees[nodes][columns]
    weights = sparse.csr_matrix(
        (values.astype(np.float32), columns, row_starts(counts)), shape=(len(ids), len(nodes))
    )
    return Links(nodes.astype(np.int64), weights, (scale * scale).astype(np.float32))
