"""Merge micro-clusters to K clusters, between average linkage and Ward.

k-means and Ward cut large types into pieces: their cost of joining two groups grows with the
number of cells in them. Average linkage has no such term and leaves outliers as clusters of
their own. The cost here is the mean squared distance between the cells of two groups times
``(n_i n_j / (n_i + n_j)) ** size_power``: 0 is average linkage (UPGMA on squared distances), 1 has
Ward's size term, and one half stands between. Without the spreads of the groups, so between their centroids
alone, 1 is Ward's cost: the squares that the merge adds.

Cells enter as micro-clusters (centroid, size, spread), so the work is that of a few hundred points,
whatever the number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["Merges", "MicroClusters", "agglomerate", "cut", "fair_cut", "merge_tree", "summarise"]


class Merges(NamedTuple):
    """A merge tree: what is joined, in order; the pair (i, j), i < j, goes on as i."""

    pairs: NDArray[np.int64]
    """shape (n_groups - 1, 2)"""
    costs: NDArray[np.float64]
    """shape (n_groups - 1,)"""


@dataclass(frozen=True)
class MicroClusters:
    """Groups of near cells.

    Attributes
    ----------
    centroids
        ndarray of float64, shape (n_groups, n_dims).
    sizes
        ndarray of float64, shape (n_groups,): cells in each, at least one.
    spreads
        ndarray of float64, shape (n_groups,): mean squared distance of the cells to their centroid.
    """

    centroids: FloatArray
    sizes: FloatArray
    spreads: FloatArray


def summarise(points: FloatArray, labels: IntArray, *, block_rows: int = 65_536) -> MicroClusters:
    """Sum up the groups of cells; ``points`` (n_cells, n_dims) is read in blocks."""
    from scipy.sparse import csr_matrix

    n_groups = int(labels.max()) + 1
    sums, squares = np.zeros((n_groups, points.shape[1])), np.zeros(n_groups)
    for start in range(0, len(points), block_rows):
        rows = np.asarray(points[start : start + block_rows], dtype=np.float64)
        inside = labels[start : start + len(rows)]
        member = csr_matrix(
            (np.ones(len(rows)), (inside, np.arange(len(rows)))), shape=(n_groups, len(rows))
        )
        sums += member @ rows
        squares += np.bincount(inside, np.einsum("ij,ij->i", rows, rows), minlength=n_groups)
    sizes = np.bincount(labels, minlength=n_groups).astype(np.float64)
    centroids = sums / sizes[:, None]
    spreads = squares / sizes - np.einsum("ij,ij->i", centroids, centroids)
    return MicroClusters(centroids, sizes, np.maximum(spreads, 0))


def agglomerate(
    groups: MicroClusters,
    n_clusters: int,
    *,
    size_power: float,
    spreads: bool = True,
    smallest: int = 1,
) -> NDArray[np.int32]:
    """Cut the merge tree so that ``n_clusters`` clusters of at least ``smallest`` cells are there.

    What the cut leaves smaller than that joins the nearest cluster. Where no cut has enough
    clusters of that size, the tree is cut to ``n_clusters`` of any size.

    Returns
    -------
    ndarray of int32, shape (n_groups,)
        Cluster of each micro-cluster, 0 .. n_clusters - 1.

    Raises
    ------
    InputError
        There are fewer micro-clusters than clusters.
    """
    n_groups = len(groups.sizes)
    if n_clusters > n_groups:
        message = f"n_clusters must be at most the {n_groups} micro-clusters; got {n_clusters}."
        raise InputError(message)
    tree = merge_tree(groups, size_power=size_power, spreads=spreads)
    return fair_cut(tree, groups, n_clusters, smallest=smallest)


def fair_cut(
    tree: Merges,
    groups: MicroClusters,
    n_clusters: int,
    *,
    smallest: int,
    owners: IntArray | None = None,
) -> NDArray[np.int32]:
    """Cut a tree as `agglomerate` does; with ``owners``, into parts of these.

    Parameters
    ----------
    tree
        Where there are owners, one that merges the groups of each before any of two.
    owners
        ndarray of int, shape (n_groups,): 0 .. n_owners - 1, fewer than ``n_clusters``. What is too small joins
        another part of its owner, and no owner is lost.

    Returns
    -------
    ndarray of int32, shape (n_groups,)
    """
    n_groups = len(groups.sizes)
    whole = np.zeros(n_groups, np.int64) if owners is None else owners
    for n_pieces in range(n_clusters, n_groups + 1):
        pieces = cut(tree, n_pieces)
        fair = _fair(pieces, groups.sizes, whole, smallest)
        if fair.sum() >= n_clusters:
            return _absorb(groups, pieces, fair, whole)
    return cut(tree, n_clusters)


def merge_tree(
    groups: MicroClusters,
    *,
    size_power: float,
    spreads: bool = True,
    owners: IntArray | None = None,
) -> Merges:
    """Merge the cheapest pair until one group is left; equal costs go to the lowest pair.

    Parameters
    ----------
    spreads
        Count the spread of both groups in their distance; without, that of their centroids.
    owners
        ndarray of int, shape (n_groups,): groups of one owner are merged before any of two.
    """
    n_groups = len(groups.sizes)
    state = _Merging(groups, size_power, spreads)
    apart = np.zeros((n_groups, n_groups), bool)
    n_inside = n_groups - 1
    if owners is not None:
        apart = owners[:, None] != owners[None, :]
        n_inside = n_groups - len(np.unique(owners))
    costs = np.where(apart, np.inf, state.costs())
    pairs, paid = np.empty((n_groups - 1, 2), np.int64), np.empty(n_groups - 1)
    for step in range(n_groups - 1):
        if step == n_inside:
            apart[:] = False
            costs = state.costs()
        i, j = sorted(divmod(int(np.argmin(costs)), n_groups))
        pairs[step], paid[step] = (i, j), costs[i, j]
        state.merge(i, j)
        costs[j] = costs[:, j] = np.inf
        near = state.alive & ~apart[i]
        near[i] = False
        costs[i, near] = costs[near, i] = state.costs_of(i)[near]
    return Merges(pairs, paid)


class _Merging:
    """Distances, sizes and spreads of the groups that are left, updated exactly at each merge."""

    def __init__(self, groups: MicroClusters, size_power: float, spreads: bool) -> None:
        self.alive = np.ones(len(groups.sizes), bool)
        self._distances = _mean_square_distances(groups)
        self._sizes = groups.sizes.astype(np.float64).copy()
        self._inner = None if spreads else groups.spreads.astype(np.float64).copy()
        self._power = size_power

    def costs(self) -> FloatArray:
        """Of all pairs, shape (n_groups, n_groups); infinite of a group and itself, or one that is gone."""
        apart = self._distances
        if self._inner is not None:
            apart = apart - self._inner[:, None] - self._inner[None, :]
        costs = apart * _size_term(self._sizes[:, None], self._sizes[None, :], self._power)
        np.fill_diagonal(costs, np.inf)
        costs[~self.alive] = costs[:, ~self.alive] = np.inf
        return costs

    def costs_of(self, i: int) -> FloatArray:
        apart = self._distances[i]
        if self._inner is not None:
            apart = apart - self._inner[i] - self._inner
        return np.asarray(apart * _size_term(self._sizes[i], self._sizes, self._power))

    def merge(self, i: int, j: int) -> None:
        distances, sizes = self._distances, self._sizes
        share = sizes[i] / (sizes[i] + sizes[j])
        if self._inner is not None:
            between = distances[i, j] - self._inner[i] - self._inner[j]
            self._inner[i] = share * self._inner[i] + (1 - share) * self._inner[j]
            self._inner[i] += share * (1 - share) * between
        distances[i] = share * distances[i] + (1 - share) * distances[j]
        distances[:, i] = distances[i]
        sizes[i] += sizes[j]
        self.alive[j] = False


def cut(tree: Merges, n_pieces: int) -> NDArray[np.int32]:
    """Return the piece of each group, 0 .. n_pieces - 1, where ``n_pieces`` are left."""
    n_groups = len(tree.pairs) + 1
    piece = np.arange(n_groups)
    for i, j in tree.pairs[: n_groups - n_pieces]:
        piece[piece == j] = i
    return np.unique(piece, return_inverse=True)[1].astype(np.int32)


def _fair(pieces: IntArray, sizes: FloatArray, whole: IntArray, smallest: int) -> BoolArray:
    """Return which pieces have enough cells; the largest of an owner stands for it where none has."""
    of_piece = np.bincount(pieces, sizes)
    fair = of_piece >= smallest
    owner = np.empty(len(of_piece), np.int64)
    owner[pieces] = whole
    for lost in np.setdiff1d(owner, owner[fair]):
        inside = np.flatnonzero(owner == lost)
        fair[inside[np.argmax(of_piece[inside])]] = True
    return np.asarray(fair)


def _absorb(
    groups: MicroClusters, labels: IntArray, fair: BoolArray, whole: IntArray
) -> NDArray[np.int32]:
    """Give the groups of pieces that are not ``fair`` to the nearest centroid of those that are, of their owner."""
    from scipy.spatial.distance import cdist

    weights = np.zeros((len(fair), len(labels)))
    weights[labels, np.arange(len(labels))] = groups.sizes
    centroids = weights @ groups.centroids / weights.sum(axis=1, keepdims=True)
    owner = np.empty(len(fair), np.int64)
    owner[labels] = whole
    apart = cdist(groups.centroids, centroids[fair], "sqeuclidean")
    nearest = np.where(whole[:, None] == owner[fair], apart, np.inf).argmin(axis=1)
    renamed = np.cumsum(fair) - 1
    return np.where(fair[labels], renamed[labels], nearest).astype(np.int32)


def _mean_square_distances(groups: MicroClusters) -> FloatArray:
    """Mean squared distance between the cells of two groups: of their centroids, and both spreads."""
    from scipy.spatial.distance import cdist

    between = cdist(groups.centroids, groups.centroids, "sqeuclidean")
    return np.asarray(between + groups.spreads[:, None] + groups.spreads[None, :])


def _size_term(a: FloatArray, b: FloatArray, power: float) -> FloatArray:
    return np.asarray((a * b / (a + b)) ** power)
