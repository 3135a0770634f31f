"""Merge trees in scipy's form, and cuts of one tree into other numbers of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.agglomerate import cut as cut_merges
from scrcl.cluster.agglomerate import fair_cut, merge_tree
from scrcl.cluster.micro import MicroClusters, summarise_clusters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import MergeCost, Merges
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Hierarchy", "Joins", "linkage_matrix", "linkage_rows"]


class Joins(NamedTuple):
    """Clusters, and the order in which they are joined until one is left."""

    cluster_of_micro: IntArray
    """shape (n_micro,): 0 .. n - 1, none empty"""
    pairs: Sequence[tuple[int, int]]
    """n - 1 pairs of clusters; a pair joins what they are in by then"""


class Hierarchy:
    """The tree of the clusters, and the tree of their micro-clusters.

    Micro-clusters of one cluster are merged before any two clusters. So the cut at K gives the clusters themselves,
    and every cut nests in every other, whichever algorithm found the clusters.

    Parameters
    ----------
    micro
        Means, sizes and spreads of the micro-clusters.
    cluster_of_micro
        ndarray of int, shape (n_micro,): 0 .. K - 1, none empty.
    cost
        Of a merge.
    joins
        Clusters that are joined in a given order: these or others, of which these are joins or parts. None: by costs.
    """

    def __init__(
        self,
        micro: MicroClusters,
        cluster_of_micro: IntArray,
        cost: MergeCost,
        joins: Joins | None = None,
    ) -> None:
        self.micro, self.cluster_of_micro = micro, cluster_of_micro
        self._cost, self._joins = cost, joins
        self._micro_merges = self.merges(np.arange(self.n_micro))
        # Merging clusters by their own means, sizes and spreads numbers the leaves by cluster.
        self._cluster_merges = self.merges(cluster_of_micro)

    def merges(self, part_of_micro: IntArray) -> Merges:
        """Return the merges of clusters or parts of them: those of one cluster first.

        Parameters
        ----------
        part_of_micro
            ndarray of int, shape (n_micro,): 0 .. n_parts - 1, none empty.
        """
        parts = summarise_clusters(self.micro, part_of_micro)
        # A micro-cluster of each part.
        member = np.unique(part_of_micro, return_index=True)[1]
        clusters = self.cluster_of_micro[member]
        if self._joins is None:
            return merge_tree(parts, self._cost, inside=[clusters])
        others = self._joins.cluster_of_micro
        both = np.unique(np.stack([clusters, others[member]]), axis=1, return_inverse=True)[1]
        there = np.unique(others, return_index=True)[1]
        joins = [(part_of_micro[there[a]], part_of_micro[there[b]]) for a, b in self._joins.pairs]
        return merge_tree(parts, self._cost, inside=[both.ravel(), others[member]], joins=joins)

    @property
    def n_micro(self) -> int:
        """Number of micro-clusters: the most clusters that a cut can give."""
        return len(self.cluster_of_micro)

    def cluster_tree(self) -> NDArray[np.float64]:
        """Return the tree of the clusters, shape (K - 1, 4); leaves are the clusters."""
        return linkage_matrix(self._cluster_merges)

    def micro_tree(self) -> NDArray[np.float64]:
        """Return the tree of the micro-clusters, shape (n_micro - 1, 4); leaves are the micro-clusters."""
        return linkage_matrix(self._micro_merges)

    def cut(self, n_clusters: int, *, smallest: int) -> NDArray[np.int32]:
        """Return the cluster of each micro-cluster in a cut into ``n_clusters``: 0 .. n_clusters - 1.

        Parts of a cluster have at least ``smallest`` cells if the tree allows it.
        """
        n_whole = int(self.cluster_of_micro.max()) + 1
        if n_clusters <= n_whole:
            return cut_merges(self._cluster_merges, n_clusters)[self.cluster_of_micro]
        return fair_cut(
            self._micro_merges,
            self.micro,
            n_clusters,
            smallest=smallest,
            cluster_of_micro=self.cluster_of_micro,
        )


def linkage_matrix(merges: Merges) -> NDArray[np.float64]:
    """Return a tree in the form that `scipy.cluster.hierarchy` reads.

    Returns
    -------
    ndarray of float64, shape (n_leaves - 1, 4)
        One row for each merge, in order: the two parts (a leaf by its number, the result of row i by n_leaves + i),
        the height, and the number of leaves below. The height is the cost of the merge, or that of an earlier merge
        if that was higher.
    """
    # Damped costs may fall from one merge to the next, but scipy wants heights that never fall. Rounding may
    # also take a cost below 0, which scipy refuses.
    return linkage_rows(merges, np.maximum.accumulate(np.maximum(merges.costs, 0)))


def linkage_rows(merges: Merges, heights: Sequence[float] | FloatArray) -> NDArray[np.float64]:
    """Return a tree in the form of `linkage_matrix`, with the given heights."""
    n = len(merges.pairs) + 1
    name, leaves = np.arange(n), np.ones(n)
    rows = np.empty((n - 1, 4))
    for step, ((i, j), height) in enumerate(zip(merges.pairs, heights, strict=True)):
        leaves[i] += leaves[j]
        rows[step] = *sorted((name[i], name[j])), height, leaves[i]
        name[i] = n + step
    return rows
