"""Neighbourhoods of points that a graph does not have: as the graph would be, had it had them.

A graph of nearest neighbours joins two points where either names the other (or where both do). A new point
names its own nearest. Whether a point of the graph would have named it shows in the distances: it is
nearer than the farthest that the point names. Edges and degrees of the graph stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph, Symmetry
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = ["Links", "joined", "normalized_links"]


@dataclass(frozen=True, eq=False)
class Links:
    """Rows of the normalised adjacency ``D^-1/2 (A + I) D^-1/2`` of new points.

    Attributes
    ----------
    nodes
        ndarray of int64, shape (n_nodes,), ascending: the points of the graph that are neighbours.
    weights
        CSR of float32, shape (n_new, n_nodes).
    own
        ndarray of float32, shape (n_new,): the weight of a new point itself.
    """

    nodes: NDArray[np.int64]
    weights: Csr
    own: NDArray[np.float32]

    def smooth(self, rows: FloatArray, of_nodes: FloatArray) -> NDArray[np.float32]:
        """Return the new points' rows, averaged with those of their neighbours.

        Parameters
        ----------
        rows, of_nodes
            ndarrays of float32, shapes (n_new, n_columns) and (n_nodes, n_columns).
        """
        return np.asarray(self.weights @ of_nodes + self.own[:, None] * rows, np.float32)


def joined(
    ids: IntArray, squared: FloatArray, reach: FloatArray, k: int, *, mode: Symmetry
) -> BoolArray:
    """Return which of the points found near new ones are their neighbours.

    Parameters
    ----------
    ids, squared
        ndarrays of int and float, shape (n_new, n_found), ascending in each row, -1 where there is none:
        more than ``k`` near points, and their squared distances.
    reach
        ndarray of float, shape (n_points,): distance of the farthest neighbour that a point of the graph
        names.
    k
        Neighbours that a point names.
    mode
        As the graph was joined (`scrcl.graph.csr.symmetric_graph`).

    Returns
    -------
    ndarray of bool, shape (n_new, n_found)
    """
    named = np.broadcast_to(np.arange(ids.shape[1]) < k, ids.shape)
    naming = np.sqrt(squared) < reach[np.maximum(ids, 0)]
    both: BoolArray = named & naming if mode == "mutual" else named | naming
    return both & (ids >= 0)


def normalized_links(ids: IntArray, neighbours: BoolArray, graph: Graph) -> Links:
    """Return the weights of new points' neighbours; a neighbour has the degree that it has in the graph.

    Parameters
    ----------
    ids, neighbours
        What was found, and which of it counts: shape (n_new, n_found).
    """
    counts = neighbours.sum(axis=1)
    nodes, columns = np.unique(ids[neighbours], return_inverse=True)
    scale = 1 / np.sqrt(counts + 1.0)
    values = np.repeat(scale, counts) * graph.inverse_sqrt_degrees[nodes][columns]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    weights = sparse.csr_matrix(
        (values.astype(np.float32), columns, indptr), shape=(len(ids), len(nodes))
    )
    return Links(nodes.astype(np.int64), weights, (scale * scale).astype(np.float32))
