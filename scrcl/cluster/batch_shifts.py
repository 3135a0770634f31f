"""By how much batches lie apart as a whole, from clusters that match between them.

Batches may lie further apart than types do. What is nearest in another batch then says nothing, and Harmony leaves the
batches apart. But if they hold the same types, their clusters lie in the same way to each other, and one shift of each
batch brings them together. So the clusters of each batch are matched with those of the others, the shifts follow from
the matches, and clusters are matched again.

Batches of other types can be shifted onto each other too. Then few clusters match, or those that do point elsewhere
from the middle of their batch. `MatchedClusters.agreement` tells this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from scrcl._group_means import group_means
from scrcl.cluster.counterparts import LEAST_CELLS, clusters_of_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["MatchedClusters", "match_clusters"]

_MOST_ROUNDS = 10
"""Times that clusters are matched and shifts are solved in turn. Most often two or three change no match."""

_MEANS = 1.0
"""How many cells of a match the means of the batches weigh as much as, for batches that few clusters join."""


@dataclass(frozen=True, eq=False)
class MatchedClusters:
    """Clusters inside the batches, and which of them match once the batches are shifted."""

    labels: NDArray[np.int64]
    """shape (n_points,): the cluster of each point"""
    batches: NDArray[np.int64]
    """shape (n_clusters,): the batch of each cluster"""
    n_batches: int
    pairs: NDArray[np.int64]
    """shape (n_pairs, 2): clusters of two batches that are nearest to each other"""
    agreement: float
    """at most 1: share of the cells in matched clusters, times the cosine between the directions in which matched
    clusters lie from the middle, each pair after the shifts that the other pairs give"""

    def shifts(self, points: FloatArray) -> NDArray[np.float32]:
        """Return by how much each batch lies apart in a space of the same cells: shape (n_batches, n_dims).

        The shifts of all cells have a mean of 0, and that of a batch without cells is of no use.
        """
        clusters = _Clusters.of(points, self.labels, self.batches, self.n_batches)
        return _solved(clusters, self.pairs).astype(np.float32)


def match_clusters(
    points: FloatArray, codes: IntArray, n_batches: int, *, seed: int
) -> MatchedClusters:
    """Cluster each batch, and match the clusters of each two batches.

    Parameters
    ----------
    points
        ndarray of float32, shape (n_points, n_dims), in memory.
    codes
        ndarray of int, shape (n_points,): batch of each point, below ``n_batches``.
    seed
        Root of the random streams.
    """
    labels, batches = clusters_of_batches(points, codes, seed)
    clusters = _Clusters.of(points, labels, batches, n_batches)
    pairs = np.empty((0, 2), np.int64)
    for _ in range(_MOST_ROUNDS):
        before, pairs = pairs, _nearest_pairs(clusters, _solved(clusters, pairs))
        if np.array_equal(before, pairs):
            break
    return MatchedClusters(labels, batches, n_batches, pairs, _agreement(clusters, pairs))


@dataclass(frozen=True, eq=False)
class _Clusters:
    """Clusters inside the batches, by their cells."""

    means: NDArray[np.float64]
    """shape (n_clusters, n_dims), with a mean of 0 over all cells"""
    sizes: IntArray
    """shape (n_clusters,)"""
    batches: IntArray
    """shape (n_clusters,): each is of one batch"""
    middles: NDArray[np.float64]
    """shape (n_batches, n_dims): mean of each batch; 0 for one without cells"""

    @classmethod
    def of(
        cls, points: FloatArray, labels: IntArray, batches: IntArray, n_batches: int
    ) -> _Clusters:
        sizes = np.bincount(labels)
        means = group_means(points, labels, len(sizes))
        means -= np.average(means, axis=0, weights=sizes)
        cells = np.bincount(batches, sizes, minlength=n_batches)
        middles = np.zeros((n_batches, means.shape[1]))
        np.add.at(middles, batches, means * sizes[:, None])
        return cls(means, sizes, batches, middles / np.maximum(cells, 1)[:, None])


def _nearest_pairs(clusters: _Clusters, shifts: FloatArray) -> NDArray[np.int64]:
    """Return the clusters of each two batches that are nearest to each other after the shifts."""
    placed = clusters.means - shifts[clusters.batches]
    judged = clusters.sizes >= LEAST_CELLS
    of_batches = [
        np.flatnonzero(judged & (clusters.batches == batch)) for batch in range(len(shifts))
    ]
    found: list[tuple[int, int]] = []
    for number, ours in enumerate(of_batches):
        for theirs in of_batches[number + 1 :]:
            if not len(ours) or not len(theirs):
                continue
            apart = cdist(placed[ours], placed[theirs])
            there, back = apart.argmin(axis=1), apart.argmin(axis=0)
            found += [
                (ours[one], theirs[other]) for one, other in enumerate(there) if back[other] == one
            ]
    return np.array(found, np.int64).reshape(-1, 2)


def _solved(clusters: _Clusters, pairs: IntArray) -> NDArray[np.float64]:
    """Return the shifts after which matched clusters are nearest, by least squares, weighted by the smaller cluster."""
    n_batches = len(clusters.middles)
    left = np.eye(n_batches) * _MEANS
    right = clusters.middles * _MEANS
    for one, other in pairs:
        a, b = clusters.batches[one], clusters.batches[other]
        weight = min(clusters.sizes[one], clusters.sizes[other])
        left[[a, b], [a, b]] += weight
        left[[a, b], [b, a]] -= weight
        away = weight * (clusters.means[one] - clusters.means[other])
        right[a] += away
        right[b] -= away
    shifts = np.linalg.solve(left, right)
    cells = np.bincount(clusters.batches, clusters.sizes, minlength=n_batches)
    return np.asarray(shifts - np.average(shifts, axis=0, weights=cells), np.float64)


def _agreement(clusters: _Clusters, pairs: IntArray) -> float:
    judged = clusters.sizes >= LEAST_CELLS
    if not len(pairs):
        return 0.0
    cosines = [
        _cosine(clusters, pair, _solved(clusters, np.delete(pairs, number, axis=0)))
        for number, pair in enumerate(pairs)
    ]
    weights = clusters.sizes[pairs].min(axis=1)
    is_matched = np.isin(np.arange(len(judged)), pairs)
    share = clusters.sizes[is_matched].sum() / clusters.sizes[judged].sum()
    return float(share * np.average(cosines, weights=weights))


def _cosine(clusters: _Clusters, pair: IntArray, shifts: FloatArray) -> float:
    """Return the cosine between the directions of two clusters from the middle of all cells, after the shifts."""
    one, other = clusters.means[pair] - shifts[clusters.batches[pair]]
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
