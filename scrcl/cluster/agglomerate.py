"""Merge micro-clusters to K clusters, at a cost between average linkage and Ward.

k-means and Ward divide large types: their cost of joining two groups grows with the number of cells in them.
Average linkage has no size term, and leaves outliers as clusters of their own. The cost here is the mean squared
distance between the cells of two groups, times ``(n_i n_j / (n_i + n_j)) ** size_power``. A power of 0 is average
linkage (UPGMA on squared distances), and 1 has Ward's size term. The default of one half is between them. If spreads
are left out, distances are those between the means, and a power of 1 is exactly Ward's cost: the increase of the sum
of squares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from scrcl.cluster.micro import MicroClusters
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["WARD", "MergeCost", "Merges", "agglomerate", "cut", "fair_cut", "merge_tree"]


class MergeCost(NamedTuple):
    """What it costs to join two groups."""

    size_power: float
    """0 for average linkage, 1 for Ward's size term"""
    spreads: bool = True
    """add the spreads of both groups to the squared distance between their means"""


WARD = MergeCost(1.0, spreads=False)
"""The increase of the sum of squares."""


class Merges(NamedTuple):
    """A merge tree: which groups are joined, in order. The pair (i, j), i < j, keeps the number i."""

    pairs: NDArray[np.int64]
    """shape (n_micro - 1, 2)"""
    costs: NDArray[np.float64]
    """shape (n_micro - 1,)"""


def agglomerate(
    micro: MicroClusters,
    n_clusters: int,
    *,
    cost: MergeCost,
    smallest: int = 1,
) -> NDArray[np.int32]:
    """Return ``n_clusters`` clusters of at least ``smallest`` cells each, cut from the merge tree.

    Smaller clusters join the nearest of the others. If no cut has enough clusters of that size, the tree is cut to
    ``n_clusters`` of any size.

    Returns
    -------
    ndarray of int32, shape (n_micro,)
        Cluster of each micro-cluster, 0 .. n_clusters - 1.

    Raises
    ------
    InputError
        There are fewer micro-clusters than clusters.
    """
    n_micro = len(micro.sizes)
    if n_clusters > n_micro:
        message = (
            f"n_clusters must be at most the number of micro-clusters ({n_micro}); got {n_clusters}. "
            "Ask for fewer clusters."
        )
        raise InputError(message)
    tree = merge_tree(micro, cost)
    return fair_cut(tree, micro, n_clusters, smallest=smallest)


def fair_cut(
    tree: Merges,
    micro: MicroClusters,
    n_clusters: int,
    *,
    smallest: int,
    cluster_of_micro: IntArray | None = None,
) -> NDArray[np.int32]:
    """Return a cut of the tree into ``n_clusters`` parts of at least ``smallest`` cells each.

    Parameters
    ----------
    tree
        If ``cluster_of_micro`` is given, the tree must merge the micro-clusters of a cluster before any two clusters.
    cluster_of_micro
        ndarray of int, shape (n_micro,): divide these clusters, which are fewer than ``n_clusters``. A part that
        is too small joins another part of its cluster, and every cluster keeps at least one part.

    Returns
    -------
    ndarray of int32, shape (n_micro,)
    """
    n_micro = len(micro.sizes)
    parent = np.zeros(n_micro, np.int64) if cluster_of_micro is None else cluster_of_micro
    # Outliers take up parts of a cut. So cut finer until enough parts are large, then give the outliers away.
    for n_parts in range(n_clusters, n_micro + 1):
        parts = cut(tree, n_parts)
        is_large = _large_parts(parts, micro.sizes, parent, smallest)
        if is_large.sum() >= n_clusters:
            return _absorb(micro, parts, is_large, parent)
    return cut(tree, n_clusters)


def cut(tree: Merges, n_parts: int) -> NDArray[np.int32]:
    """Return the part of each micro-cluster, 0 .. n_parts - 1, when ``n_parts`` are left."""
    n_micro = len(tree.pairs) + 1
    part = np.arange(n_micro)
    for i, j in tree.pairs[: n_micro - n_parts]:
        part[part == j] = i
    return np.unique(part, return_inverse=True)[1].astype(np.int32)


def merge_tree(
    micro: MicroClusters,
    cost: MergeCost,
    *,
    inside: Sequence[IntArray] = (),
    joins: Iterable[tuple[int, int]] = (),
) -> Merges:
    """Merge the pair of lowest cost until one group is left. Among equal costs, the lowest pair is merged.

    Each step scans all pairs: n_micro ** 3 comparisons in all, which is fast enough for some thousand micro-clusters.

    Parameters
    ----------
    inside
        ndarrays of int, shape (n_micro,), the finest first: micro-clusters of one label are merged before any two of
        different labels.
    joins
        Pairs of micro-clusters. After that their groups are merged, in this order; what is left, by its costs.
    """
    merging = _Merging(micro, cost)
    for labels in inside:
        merging.merge_cheapest(len(np.unique(labels)), labels[:, None] != labels[None, :])
    for pair in joins:
        merging.join(*pair)
    merging.merge_cheapest(1)
    return merging.merges()


class _Merging:
    """Distances, sizes and spreads of the groups that are left.

    Each merge updates them exactly, so they are those of the cells, without another look at the cells.
    """

    def __init__(self, micro: MicroClusters, cost: MergeCost) -> None:
        self._alive = np.ones(len(micro.sizes), bool)
        self._distances = _mean_square_distances(micro)
        self._sizes = micro.sizes.astype(np.float64).copy()
        # Distances always include both spreads, because their update is a plain weighted mean then. Without
        # spreads in the cost, they are subtracted again.
        self._spreads = micro.spreads.astype(np.float64).copy()
        self._cost = cost
        self._group = np.arange(len(micro.sizes))
        self._pairs: list[tuple[int, int]] = []
        self._paid: list[float] = []

    def merges(self) -> Merges:
        """Return what was merged so far."""
        pairs = np.array(self._pairs, np.int64).reshape(-1, 2)
        return Merges(pairs, np.array(self._paid, np.float64))

    def merge_cheapest(self, n_left: int, is_forbidden: BoolArray | None = None) -> None:
        """Merge the pair of lowest cost until ``n_left`` groups are left."""
        n_micro = len(self._alive)
        if is_forbidden is None:
            is_forbidden = np.zeros((n_micro, n_micro), bool)
        costs = np.where(is_forbidden, np.inf, self._costs())
        while len(self._pairs) < n_micro - n_left:
            # argmin takes the first of equal costs, so ties are always decided in the same way.
            i, j = sorted(divmod(int(np.argmin(costs)), n_micro))
            self._merge(i, j)
            # Only costs with group i change: j is gone, and other pairs are as before.
            costs[j] = costs[:, j] = np.inf
            near = self._alive & ~is_forbidden[i]
            near[i] = False
            costs[i, near] = costs[near, i] = self._costs_of(i)[near]

    def join(self, one: int, other: int) -> None:
        """Merge the groups that two micro-clusters are in, unless they are one."""
        i, j = sorted((int(self._group[one]), int(self._group[other])))
        if i != j:
            self._merge(i, j)

    def _costs(self) -> FloatArray:
        """Return costs of all pairs, shape (n_micro, n_micro); infinite on the diagonal and for merged groups."""
        distances = self._distances
        if not self._cost.spreads:
            distances = distances - self._spreads[:, None] - self._spreads[None, :]
        costs = distances * _size_term(
            self._sizes[:, None], self._sizes[None, :], self._cost.size_power
        )
        np.fill_diagonal(costs, np.inf)
        costs[~self._alive] = costs[:, ~self._alive] = np.inf
        return costs

    def _costs_of(self, i: int) -> FloatArray:
        """Return costs of merging group ``i`` with each other, shape (n_micro,)."""
        distances = self._distances[i]
        if not self._cost.spreads:
            distances = distances - self._spreads[i] - self._spreads
        return np.asarray(
            distances * _size_term(self._sizes[i], self._sizes, self._cost.size_power)
        )

    def _merge(self, i: int, j: int) -> None:
        self._pairs.append((i, j))
        self._paid.append(float(self._costs_of(i)[j]))
        self._group[self._group == j] = i
        distances, sizes = self._distances, self._sizes
        share = sizes[i] / (sizes[i] + sizes[j])
        # Spread of the union: the mean of both spreads, and the variance between the two means.
        between = distances[i, j] - self._spreads[i] - self._spreads[j]
        self._spreads[i] = share * self._spreads[i] + (1 - share) * self._spreads[j]
        self._spreads[i] += share * (1 - share) * between
        # Lance-Williams update of average linkage: cells of i and j count by their numbers.
        distances[i] = share * distances[i] + (1 - share) * distances[j]
        distances[:, i] = distances[i]
        sizes[i] += sizes[j]
        self._alive[j] = False


def _large_parts(parts: IntArray, sizes: FloatArray, parent: IntArray, smallest: int) -> BoolArray:
    """Return which parts have enough cells. If a parent has no such part, its largest counts as one."""
    n_cells = np.bincount(parts, sizes)
    is_large = n_cells >= smallest
    parent_of_part = np.empty(len(n_cells), np.int64)
    parent_of_part[parts] = parent
    for lost in np.setdiff1d(parent_of_part, parent_of_part[is_large]):
        inside = np.flatnonzero(parent_of_part == lost)
        is_large[inside[np.argmax(n_cells[inside])]] = True
    return np.asarray(is_large)


def _absorb(
    micro: MicroClusters, parts: IntArray, is_large: BoolArray, parent: IntArray
) -> NDArray[np.int32]:
    """Move the micro-clusters of small parts to the nearest large part of the same parent.

    The means of the large parts stay as they are, so the result does not depend on an order.
    """
    from scipy.spatial.distance import cdist

    weights = np.zeros((len(is_large), len(parts)))
    weights[parts, np.arange(len(parts))] = micro.sizes
    means = weights @ micro.means / weights.sum(axis=1, keepdims=True)
    parent_of_part = np.empty(len(is_large), np.int64)
    parent_of_part[parts] = parent
    squared = cdist(micro.means, means[is_large], "sqeuclidean")
    nearest = np.where(parent[:, None] == parent_of_part[is_large], squared, np.inf).argmin(axis=1)
    renamed = np.cumsum(is_large) - 1
    return np.where(is_large[parts], renamed[parts], nearest).astype(np.int32)


def _mean_square_distances(micro: MicroClusters) -> FloatArray:
    """Return mean squared distances between the cells of two groups: that of the means, plus both spreads."""
    from scipy.spatial.distance import cdist

    between = cdist(micro.means, micro.means, "sqeuclidean")
    return np.asarray(between + micro.spreads[:, None] + micro.spreads[None, :])


def _size_term(a: FloatArray, b: FloatArray, power: float) -> FloatArray:
    return np.asarray((a * b / (a + b)) ** power)
