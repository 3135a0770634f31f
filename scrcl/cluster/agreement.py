"""Communities of the graph that several representations of the same cells agree on.

How counts are scaled, and how many components are kept, changes clusters as much as chance does. So the cells are
compared in several representations, each with fewer and with more components. Each gives a neighbour graph, and
communities of it at several resolutions. An edge that is in many graphs weighs more, and so does one whose ends are in
the same community in most partitions.

References
----------
Strehl and Ghosh: Cluster ensembles: a knowledge reuse framework for combining multiple partitions, JMLR 3 (2002),
583-617.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.merging import unsupported_merges
from scrcl.graph.communities import graph_of_neighbours, leiden_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scrcl.cluster.evidence import Evidence
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = [
    "MOST_COMPS",
    "Communities",
    "fewer_neighbors",
    "merged_communities",
    "nearest_cells",
    "of_nearest",
    "side_by_side",
    "vote",
]

MOST_COMPS = 30
"""Components of a representation. Later ones hold more noise than structure."""

_COMPS = (15, MOST_COMPS)
"""Components in the graphs of a representation."""

_RESOLUTIONS = (0.5, 1.0, 2.0)
"""Resolutions of the partitions that vote."""

_FEWEST_NEIGHBORS = 5
"""Neighbours in the smallest data sets. With fewer, chance alone cuts types."""


class Communities(NamedTuple):
    """Communities of some cells, and those that were merged because no valley parts them."""

    labels: NDArray[np.int64]
    """shape (n_cells,)"""
    joins: list[tuple[int, int]]
    """in order; the second community of a pair joins the first"""

    def merged(self) -> NDArray[np.int64]:
        """Return the clusters that are left: shape (n_cells,), from 0 and without gaps."""
        part = np.arange(int(self.labels.max()) + 1)
        for kept, joined in self.joins:
            part[part == joined] = kept
        return np.unique(part[self.labels], return_inverse=True)[1].astype(np.int64)


def merged_communities(
    nearest: Mapping[str, IntArray],
    n_neighbors: int,
    evidence: Evidence,
    least_support: float,
    *,
    seed: int,
) -> Communities:
    """Return the communities of the graph that `vote` returns, and which are merged since no valley parts them.

    A valley counts where the partitions that `vote` returns keep the communities apart.

    Parameters
    ----------
    nearest, n_neighbors
        As for `vote`.
    evidence, least_support
        Of the same cells; see `scrcl.cluster.merging.unsupported_merges`.
    """
    graph, partitions = vote(nearest, n_neighbors, seed)
    communities = leiden_of(graph, seed=seed, name="cluster.vote", n_iterations=2)(1.0)
    joins = unsupported_merges(evidence, communities, least_support, partitions=partitions)
    return Communities(communities, joins)


def nearest_cells(
    representations: Sequence[FloatArray], n_nearest: int, seed: int
) -> dict[str, IntArray]:
    """Return the nearest cells of each cell by the name of each graph: shape (n_cells, n_nearest) each, nearest first.

    Parameters
    ----------
    representations
        Arrays of float32, shape (n_cells, n_comps) each, of the same cells; the leading components first.
    """
    from scrcl.graph.knn import knn

    found: dict[str, IntArray] = {}
    for number, scores in enumerate(representations):
        for n_comps in sorted({min(n, scores.shape[1]) for n in _COMPS}):
            points = np.ascontiguousarray(scores[:, :n_comps])
            k = min(n_nearest, len(points) - 1)
            found[f"{number}.{n_comps}"] = knn(points, k, seed=seed).ids
    return found


def vote(
    nearest: Mapping[str, IntArray], n_neighbors: int, seed: int
) -> tuple[Csr, list[NDArray[np.int64]]]:
    """Return the graph of all representations, weighted by agreement, and the partitions that agree.

    Parameters
    ----------
    nearest
        The nearest cells of each cell in each graph, of which the first ``n_neighbors`` count.

    Returns
    -------
    csr_matrix, shape (n_cells, n_cells)
        Symmetric. The weight of an edge is the share of graphs that have it, times the square of the share of
        partitions in which its ends are in one community.
    list of ndarray of int64, shape (n_cells,)
        The community of each cell, in each graph at each resolution.
    """
    from scipy.sparse import csr_matrix

    graphs, partitions = [], []
    for name, ids in nearest.items():
        graph = graph_of_neighbours(ids[:, :n_neighbors])
        communities = leiden_of(graph, seed=seed, name=f"cluster.vote.{name}", n_iterations=2)
        graphs.append(graph)
        partitions += [communities(resolution) for resolution in _RESOLUTIONS]
    union = reduce(add, graphs).tocoo()
    agreement = np.zeros(union.nnz)
    for partition in partitions:
        agreement += partition[union.row] == partition[union.col]
    agreement /= len(partitions)
    weights = union.data / len(graphs) * agreement**2
    kept = weights > 0
    graph = csr_matrix((weights[kept], (union.row[kept], union.col[kept])), shape=union.shape)
    return graph, partitions


def fewer_neighbors(n_neighbors: int, n_cells: int) -> int:
    """Return the number of neighbours in the graphs of some cells: fewer below about a thousand cells.

    If a cell has more neighbours than its type has cells, types run together before any community is found.
    """
    return min(n_neighbors, max(_FEWEST_NEIGHBORS, round(math.sqrt(n_cells) / 2)))


def side_by_side(spaces: Sequence[FloatArray]) -> NDArray[np.float32]:
    """Return all spaces as one, each with the same total variance: shape (n_cells, sum of dimensions)."""
    variances = [float(space.var(axis=0, dtype=np.float64).sum()) or 1.0 for space in spaces]
    return np.concatenate(
        [space / np.float32(np.sqrt(v)) for space, v in zip(spaces, variances, strict=True)],
        axis=1,
    ).astype(np.float32)


def of_nearest(
    points: FloatArray, labels: NDArray[np.int64], is_drawn: BoolArray
) -> NDArray[np.int64]:
    """Return clusters of all cells: others than the drawn ones have that of the nearest drawn cell.

    Parameters
    ----------
    points
        ndarray of float32, shape (n_cells, n_dims).
    labels
        ndarray of int64, shape (n_drawn,): clusters of the drawn cells.
    is_drawn
        ndarray of bool, shape (n_cells,).
    """
    from scrcl.graph.kmeans import assign

    found = np.empty(len(points), np.int64)
    found[is_drawn] = labels
    found[~is_drawn] = labels[assign(points[~is_drawn], points[is_drawn])]
    return found
