"""Merge trees as scipy writes them, and clusterings that nest in one tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.agglomerate import MicroClusters, fair_cut, merge_tree
from scrcl.cluster.agglomerate import cut as cut_merges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import Merges
    from scrcl.typing import IntArray

__all__ = ["Hierarchy", "linkage_matrix", "united"]


class Hierarchy:
    """The tree of the clusters, and below each that of its groups, merged at one cost.

    Every cut is nested in every other, and the cut at K is the clustering itself: groups of one cluster are
    merged before any of two.

    Parameters
    ----------
    groups
        The groups, summed up.
    owners
        ndarray of int, shape (n_groups,): the cluster of each, 0 .. K - 1, none empty.
    size_power, spreads
        What a merge costs, as in `merge_tree`.
    """

    def __init__(
        self, groups: MicroClusters, owners: IntArray, *, size_power: float, spreads: bool
    ) -> None:
        self.groups, self.owners = groups, owners
        cost = {"size_power": size_power, "spreads": spreads}
        self._below = merge_tree(groups, owners=owners, **cost)  # type: ignore[arg-type]
        self._above = merge_tree(united(groups, owners), **cost)  # type: ignore[arg-type]

    @property
    def n_groups(self) -> int:
        """The most clusters that a cut gives."""
        return len(self.owners)

    def of_clusters(self) -> NDArray[np.float64]:
        """Return the tree of the clusters, shape (K - 1, 4); leaves are the clusters."""
        return linkage_matrix(self._above)

    def of_groups(self) -> NDArray[np.float64]:
        """Return the tree of the groups, shape (n_groups - 1, 4); leaves are the groups."""
        return linkage_matrix(self._below)

    def cut(self, n_clusters: int, *, smallest: int) -> NDArray[np.int32]:
        """Return the cluster of each group in a clustering into ``n_clusters``, 0 .. n_clusters - 1.

        Parts of a cluster have at least ``smallest`` cells where the tree allows it.
        """
        n_owners = int(self.owners.max()) + 1
        if n_clusters <= n_owners:
            return cut_merges(self._above, n_clusters)[self.owners]
        return fair_cut(self._below, self.groups, n_clusters, smallest=smallest, owners=self.owners)


def united(groups: MicroClusters, owners: IntArray) -> MicroClusters:
    """Sum up the clusters that groups make: exact, as if from the cells."""
    n = int(owners.max()) + 1
    sizes = np.bincount(owners, groups.sizes, minlength=n).astype(np.float64)
    member = np.zeros((n, len(owners)))
    member[owners, np.arange(len(owners))] = groups.sizes / sizes[owners]
    centroids = member @ groups.centroids
    away = ((groups.centroids - centroids[owners]) ** 2).sum(axis=1) + groups.spreads
    return MicroClusters(centroids, sizes, member @ away)


def linkage_matrix(merges: Merges) -> NDArray[np.float64]:
    """Return a tree as `scipy.cluster.hierarchy` reads it.

    Returns
    -------
    ndarray of float64, shape (n_leaves - 1, 4)
        A row a merge, in order: the two that are joined (a leaf by its number, the result of row i by
        n_leaves + i), the height, and the leaves below. The height is the cost of the merge, or that of a
        merge before it where that was higher: heights never fall.
    """
    n = len(merges.pairs) + 1
    name, leaves = np.arange(n), np.ones(n)
    rows = np.empty((n - 1, 4))
    heights = np.maximum.accumulate(np.maximum(merges.costs, 0))  # rounding may take a cost below 0
    for step, (i, j) in enumerate(merges.pairs):
        leaves[i] += leaves[j]
        rows[step] = *sorted((name[i], name[j])), heights[step], leaves[i]
        name[i] = n + step
    return rows
