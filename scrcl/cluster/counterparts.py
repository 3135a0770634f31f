"""Groups of cells that only one batch has.

Correction joins what lies near each other in different batches. A cell type that one batch alone has would be joined to
another type. So the cells of each batch are clustered by themselves, and each cluster is compared with the nearest
clusters of other batches. The batch effect is about as large for all types. A cluster that lies much further from all
others than most clusters do has no counterpart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from scrcl._group_means import group_means
from scrcl.graph.communities import leiden_of, neighbour_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["LEAST_CELLS", "Counterparts", "clusters_of_batches", "find_counterparts"]

_FACTOR = 2.25
"""Distance to other batches, over the median, from which a cluster has no counterpart. Clusters of types that donors
share had at most 2.0 where donors differ, and those of one batch alone 2.2 to 7 where the effect is moderate."""

LEAST_CELLS = 10
"""Cells of the smallest cluster that is judged: means of fewer are too uncertain."""

_LEAST_BATCH_CELLS = 30
"""Batches with fewer cells are one cluster."""

_N_NEIGHBORS = 15
_BLOCK_ROWS = 1_024


@dataclass(frozen=True, eq=False)
class Counterparts:
    """Clusters inside the batches, and which of them no other batch has."""

    means: NDArray[np.float32]
    """shape (n_clusters, n_dims)"""
    batches: NDArray[np.int64]
    """shape (n_clusters,): the batch of each cluster"""
    is_alone: NDArray[np.bool_]
    """shape (n_clusters,)"""

    def alone(self, points: FloatArray, codes: IntArray) -> BoolArray:
        """Return which rows are nearest to a cluster that no other batch has: bool, shape (n,)."""
        found = np.zeros(len(points), bool)
        for batch in np.unique(self.batches[self.is_alone]):
            rows, own = np.flatnonzero(codes == batch), self.batches == batch
            if len(rows):
                found[rows] = self.is_alone[own][
                    cdist(points[rows], self.means[own]).argmin(axis=1)
                ]
        return found


def find_counterparts(points: FloatArray, codes: IntArray, *, seed: int) -> Counterparts:
    """Cluster each batch, and compare its clusters with those of other batches.

    Parameters
    ----------
    points
        ndarray of float32, shape (n_points, n_dims), in memory.
    codes
        ndarray of int, shape (n_points,): batch of each point.
    seed
        Root of the random streams.
    """
    labels, owners = clusters_of_batches(points, codes, seed)
    sizes = np.bincount(labels)
    means = group_means(points, labels, len(sizes))
    spread = np.bincount(labels, ((points - means[labels]) ** 2).sum(axis=1)) / sizes
    nearest = _nearest_in_other_batches(means, owners, spread / sizes)
    judged = (sizes >= LEAST_CELLS) & np.isfinite(nearest)
    usual = _weighted_median(nearest[judged], sizes[judged]) if judged.any() else np.inf
    return Counterparts(means.astype(np.float32), owners, judged & (nearest > _FACTOR * usual))


def clusters_of_batches(
    points: FloatArray, codes: IntArray, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cluster of each point, with numbers that no two batches share, and the batch of each cluster."""
    labels = np.zeros(len(points), np.int64)
    owners: list[int] = []
    for batch in np.unique(codes):
        rows = np.flatnonzero(codes == batch)
        own = np.zeros(len(rows), np.int64)
        if len(rows) >= _LEAST_BATCH_CELLS:
            graph = neighbour_graph(points[rows], _N_NEIGHBORS, seed)
            own = leiden_of(graph, seed=seed, name="correct.batch", n_iterations=2)(1.0)
            _, own = np.unique(own, return_inverse=True)
        labels[rows] = len(owners) + own
        owners += [batch] * (int(own.max()) + 1)
    return labels, np.array(owners, np.int64)


def _nearest_in_other_batches(
    means: FloatArray, owners: IntArray, errors: FloatArray
) -> NDArray[np.float64]:
    """Return how far each mean is from the nearest of another batch, less what errors of the means add to it."""
    nearest = np.empty(len(means))
    for start in range(0, len(means), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        squared = cdist(means[block], means, "sqeuclidean") - errors[block, None] - errors
        squared[owners[block, None] == owners] = np.inf
        nearest[block] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return nearest


def _weighted_median(values: FloatArray, weights: IntArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
