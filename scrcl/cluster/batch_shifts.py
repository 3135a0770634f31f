"""By how much batches lie apart as a whole, from clusters that match between them.

Batches may lie further apart than types do. What is nearest in another batch then says nothing, and Harmony leaves the
batches apart. But if they hold the same types, their clusters lie in the same way to each other, and one shift of each
batch brings them together. So the clusters of each batch are matched with those of the others, the shifts follow from
the matches, and clusters are matched again.

Batches of other types can be shifted onto each other too. Then few clusters match, or those that do point elsewhere
from the middle of their batch. `MatchedClusters.agreement` shows this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from scrcl._group_means import group_means
from scrcl._threads import one_blas_thread
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
    shares: NDArray[np.float64]
    """shape (n_batches,): share of the cells that are in each batch"""

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
        middles /= np.maximum(cells, 1)[:, None]
        return cls(means, sizes, batches, middles, cells / cells.sum())


def _nearest_pairs(clusters: _Clusters, shifts: FloatArray) -> NDArray[np.int64]:
    """Return the clusters of each two batches that are nearest to each other after the shifts."""
    judged = np.flatnonzero(clusters.sizes >= LEAST_CELLS)
    batches = clusters.batches[judged]
    placed = clusters.means[judged] - shifts[batches]
    nearest = np.full((len(judged), len(shifts)), -1)
    for batch in np.unique(batches):
        own = np.flatnonzero(batches == batch)
        nearest[:, batch] = own[cdist(placed, placed[own]).argmin(axis=1)]
    ones, of = np.nonzero((nearest >= 0) & (np.arange(len(shifts)) > batches[:, None]))
    others = nearest[ones, of]
    is_mutual = nearest[others, batches[ones]] == ones
    return np.stack([judged[ones[is_mutual]], judged[others[is_mutual]]], axis=1)


def _equations(
    clusters: _Clusters, pairs: IntArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the normal equations of the shifts after which matched clusters are nearest, by least squares.

    A match weighs as much as its smaller cluster.
    """
    n_batches = len(clusters.middles)
    left = np.eye(n_batches) * _MEANS
    right = clusters.middles * _MEANS
    (a, b), weights, away = _matches(clusters, pairs)
    for one, other in ((a, b), (b, a)):
        np.add.at(left, (one, one), weights)
        np.add.at(left, (one, other), -weights)
    np.add.at(right, a, weights[:, None] * away)
    np.add.at(right, b, -weights[:, None] * away)
    return left, right


def _matches(
    clusters: _Clusters, pairs: IntArray
) -> tuple[IntArray, NDArray[np.float64], NDArray[np.float64]]:
    """Return the two batches, the weight, and the distance by each dimension, of each pair of clusters."""
    away = clusters.means[pairs[:, 0]] - clusters.means[pairs[:, 1]]
    weights = clusters.sizes[pairs].min(axis=1).astype(np.float64)
    return clusters.batches[pairs].T, weights, away


def _solved(clusters: _Clusters, pairs: IntArray) -> NDArray[np.float64]:
    """Return the shifts that solve the equations, with a mean of 0 over all cells."""
    with one_blas_thread():
        shifts = np.linalg.solve(*_equations(clusters, pairs))
        return np.asarray(shifts - clusters.shares @ shifts, np.float64)


def _solved_without(
    clusters: _Clusters, pairs: IntArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each pair the shifts of its two batches that the other pairs give: shape (n_pairs, n_dims) each.

    Without one pair, the equations differ by a matrix of rank one. So the inverse is that of all pairs, with a term
    (Sherman and Morrison), and the time grows with the number of pairs alone.
    """
    left, right = _equations(clusters, pairs)
    with one_blas_thread():
        inverse = np.linalg.inv(left)
        shifts = inverse @ right
        of_all, middle = clusters.shares @ inverse, clusters.shares @ shifts
    (a, b), weights, away = _matches(clusters, pairs)
    at_a, at_b = inverse[a, a] - inverse[a, b], inverse[b, a] - inverse[b, b]
    left_over = (shifts[a] - shifts[b] - away) / (1 - weights * (at_a - at_b))[:, None]
    step = weights[:, None] * left_over
    mean = middle + (of_all[a] - of_all[b])[:, None] * step
    return shifts[a] + at_a[:, None] * step - mean, shifts[b] + at_b[:, None] * step - mean


def _agreement(clusters: _Clusters, pairs: IntArray) -> float:
    if not len(pairs):
        return 0.0
    ones, others = (
        clusters.means[own] - shifts
        for own, shifts in zip(pairs.T, _solved_without(clusters, pairs), strict=True)
    )
    # Directions from the middle of all cells.
    lengths = np.linalg.norm(ones, axis=1) * np.linalg.norm(others, axis=1)
    cosines = (ones * others).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    is_matched = np.isin(np.arange(len(clusters.sizes)), pairs)
    judged = clusters.sizes >= LEAST_CELLS
    share = clusters.sizes[is_matched].sum() / clusters.sizes[judged].sum()
    return float(share * np.average(cosines, weights=clusters.sizes[pairs].min(axis=1)))
