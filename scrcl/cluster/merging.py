"""Merge clusters that have no valley between them.

Clusterings cut large types and tails into pieces. So two clusters count as two types only if few cells lie between them
(`scrcl.cluster.valley`). The pair with the shallowest valley is merged, its neighbours are measured again, and so on.
Where the shallowest valley is deep enough, the clusters that are left are those that the data supports. There may be
one.

A valley is measured along one axis, on which chance or the border of two states that run into each other may show one.
So it counts for no more than the partitions keep the clusters apart that the communities come from
(`scrcl.cluster.kept_apart`).

Ten cells show a valley only roughly, and the shallowest of many rough depths is too low. So the support of a small
cluster also counts what other pairs show: how many of them have a valley.

Valleys are measured on some hundred cells of each cluster, between clusters with near means. So the time depends on
the number of clusters, and not on the number of cells.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.kept_apart import KeptApart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scrcl.cluster.evidence import Evidence
    from scrcl.typing import FloatArray, IntArray

__all__ = ["barrier", "join_order", "merge_unsupported", "unsupported_merges"]

_NEAREST = 4
"""Clusters with near means, in each space, that a cluster may be merged with next."""

_LEAST_DENSITY = 1e-3
"""Smallest density in a valley, as a share of that at its sides. Some hundred cells show no less."""

_CELLS_OF_OTHERS = 5
"""How many cells of the smaller group it takes to weigh as much as what all other pairs show."""


def merge_unsupported(
    evidence: Evidence,
    labels: IntArray,
    least_support: float,
    *,
    partitions: Sequence[IntArray] = (),
) -> NDArray[np.int64]:
    """Return the clusters that `unsupported_merges` leave.

    Returns
    -------
    ndarray of int64, shape (n_clusters,)
        The number of each cluster after the merges, from 0 and without gaps.
    """
    part = np.arange(int(labels.max()) + 1)
    for kept, joined in unsupported_merges(evidence, labels, least_support, partitions=partitions):
        part[part == joined] = kept
    return np.unique(part, return_inverse=True)[1]


def unsupported_merges(
    evidence: Evidence,
    labels: IntArray,
    least_support: float,
    *,
    partitions: Sequence[IntArray] = (),
) -> list[tuple[int, int]]:
    """Return which pairs are merged, each of the lowest support, until all supports reach ``least_support``.

    Supports are means, weighted by cells: the depth of the valley, by those of the smaller group, and the share of all
    near pairs that have a valley, by five. Among pairs of equal support, the one with the nearest means is merged.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_some,): the cluster of each cell of the evidence, 0 .. n_clusters - 1, none empty.
    partitions
        ndarrays of int, shape (n_some,): communities of the same cells. Without any, valleys alone count.

    Returns
    -------
    list of pairs of int
        In order; the second cluster of a pair joins the first, and is in no later pair.
    """
    clusters = _Clusters(evidence, labels, partitions)
    share = clusters.share_parted()
    merges: list[tuple[int, int]] = []
    while len(clusters.groups) > 1:
        support, _, pair = min(
            (clusters.support_with(share, *pair), clusters.distance(*pair), pair)
            for pair in clusters.near_pairs()
        )
        if support >= least_support:
            break
        clusters.merge(*pair)
        merges.append(pair)
    return merges


def join_order(
    evidence: Evidence,
    labels: IntArray,
    points: FloatArray,
    size_power: float,
    *,
    n_rare: int = 0,
) -> list[tuple[int, int]]:
    """Return the order in which clusters are joined until one is left.

    The next pair is the one with the least product of two costs. One is the barrier between them: the logarithm of
    the density where it is high over that in the valley. The other is the squared distance of their means, damped by
    their sizes as in `scrcl.cluster.agglomerate`. How diffuse they are says nothing about which ones are next to each
    other, so spreads are left out. Rare types come first: a user who asks for fewer clusters than are supported loses
    those of a few cells before two large ones are joined.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_some,), as in `merge_unsupported`.
    points
        ndarray of float, shape (n_some, n_dims): the same cells in the space of distances.
    n_rare
        How many of the last clusters are rare types.

    Returns
    -------
    list of pairs of int
        Each joins the groups that two clusters are in by then.
    """
    clusters = _Clusters(evidence, labels)
    means = {name: points[group].mean(axis=0) for name, group in clusters.groups.items()}

    first_rare = len(means) - n_rare

    def cost(a: int, b: int) -> tuple[bool, float, float]:
        n_a, n_b = len(clusters.groups[a]), len(clusters.groups[b])
        distance = np.square(means[a] - means[b]).sum()
        damped = float(distance * (n_a * n_b / (n_a + n_b)) ** size_power)
        return max(a, b) < first_rare, barrier(clusters.support(a, b)) * damped, damped

    order = []
    while len(clusters.groups) > 1:
        kept, joined = min((*cost(*pair), pair) for pair in set(clusters.near_pairs()))[-1]
        clusters.merge(kept, joined)
        means[kept] = points[clusters.groups[kept]].mean(axis=0)
        order.append((kept, joined))
    return order


def barrier(support: float) -> float:
    """Return the logarithm of the densities at the sides of a valley over that in it, at most 7; 0 for no valley."""
    return -math.log(max(1 - max(support, 0.0), _LEAST_DENSITY))


class _Clusters:
    """The clusters that are left, by number: their cells and means, and the supports that are known."""

    def __init__(
        self, evidence: Evidence, labels: IntArray, partitions: Sequence[IntArray] = ()
    ) -> None:
        self._evidence = evidence
        self._kept_apart = KeptApart(labels, partitions)
        order = np.argsort(labels, kind="stable")
        ends = np.cumsum(np.bincount(labels))
        self.groups: dict[int, IntArray] = dict(enumerate(np.split(order, ends[:-1])))
        self._means = {name: evidence.means(group) for name, group in self.groups.items()}
        self._supports: dict[tuple[int, int], float] = {}
        self._within: dict[tuple[int, int], float] = {}

    def near_pairs(self) -> Iterator[tuple[int, int]]:
        """Yield each cluster with those that are nearest in a space, the lower number first."""
        from scipy.spatial.distance import cdist

        names = sorted(self.groups)
        for space in range(len(self._evidence.spaces)):
            means = np.stack([self._means[name][space] for name in names])
            distances = cdist(means, means)
            np.fill_diagonal(distances, np.inf)
            nearest = np.argsort(distances, axis=1, kind="stable")[
                :, : min(_NEAREST, len(names) - 1)
            ]
            for one, others in zip(names, nearest, strict=True):
                for other in others:
                    yield min(one, names[other]), max(one, names[other])

    def distance(self, a: int, b: int) -> float:
        """Return the distance between two means, over all spaces."""
        means = zip(self._means[a], self._means[b], strict=True)
        return float(np.sqrt(sum(np.square(one - other).sum() for one, other in means)))

    def support(self, a: int, b: int) -> float:
        """Return the support of the split between two clusters."""
        if (a, b) not in self._supports:
            self._supports[a, b] = self._evidence.support(self.groups[a], self.groups[b])
        return self._supports[a, b]

    def support_with(self, share: float, a: int, b: int) -> float:
        """Return the support of a split. The share of pairs that have a valley counts like some more cells."""
        depth, n = self.support(a, b), min(len(self.groups[a]), len(self.groups[b]))
        if depth < 0:
            return depth
        with_others = (n * depth + _CELLS_OF_OTHERS * share) / (n + _CELLS_OF_OTHERS)
        return min(with_others, self._most_support(a, b))

    def _most_support(self, a: int, b: int) -> float:
        """Return how firmly partitions keep two clusters apart, or how deep the valley within batches is.

        Partitions of corrected cells know nothing of what a correction laid upon each other.
        """
        degree = self._kept_apart.degree(a, b)
        if degree == 1:
            return degree
        if (a, b) not in self._within:
            pair = self.groups[a], self.groups[b]
            self._within[a, b] = self._evidence.within_batches(*pair)
        return max(degree, self._within[a, b])

    def share_parted(self) -> float:
        """Return the share of near pairs that have a valley between them.

        Depths between parts of one type are spread evenly from 0 to 1, and those between types are near 1. So twice the
        share of depths below a half is the share of pairs of one type (Storey's estimate). Two pairs are added, one of
        them below a half: where there are few pairs, the share stays near 0.
        """
        depths = [self.support(*pair) for pair in set(self.near_pairs())]
        n_measured = sum(depth >= 0 for depth in depths)
        n_shallow = sum(0 <= depth < 0.5 for depth in depths)
        return max(1 - 2 * (n_shallow + 1) / (n_measured + 2), 0.0)

    def merge(self, a: int, b: int) -> None:
        """Give the cells of ``b`` to ``a``."""
        self.groups[a] = np.union1d(self.groups[a], self.groups.pop(b))
        self._means[a] = self._evidence.means(self.groups[a])
        del self._means[b]
        self._kept_apart.merge(a, b)
        for known in (self._supports, self._within):
            for pair in [pair for pair in known if {a, b} & set(pair)]:
                del known[pair]
