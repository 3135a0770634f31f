"""Micro-clusters: a few hundred small groups of cells, kept as means, sizes and spreads.

These three numbers are enough to compute mean squared distances between all cells of two groups exactly.
So merging costs as much as for a few hundred points, for any number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._group_means import group_sums
from scrcl.io.arrays import SMALL_MAP_BYTES, release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["MicroClusters", "micro_clusters_inside", "summarise", "summarise_clusters"]


@dataclass(frozen=True)
class MicroClusters:
    """Small groups of near cells.

    Attributes
    ----------
    means
        ndarray of float64, shape (n_micro, n_dims).
    sizes
        ndarray of float64, shape (n_micro,): number of cells, at least one.
    spreads
        ndarray of float64, shape (n_micro,): mean squared distance of the cells to their mean.
    """

    means: FloatArray
    sizes: FloatArray
    spreads: FloatArray


def summarise(
    points: FloatArray, micro_labels: IntArray, *, block_rows: int = 65_536
) -> MicroClusters:
    """Return means, sizes and spreads of micro-clusters; ``points`` (n_cells, n_dims) is read in blocks."""
    n_micro = int(micro_labels.max()) + 1
    sums, squares = np.zeros((n_micro, points.shape[1])), np.zeros(n_micro)
    for start in range(0, len(points), block_rows):
        rows = np.asarray(points[start : start + block_rows], dtype=np.float64)
        inside = micro_labels[start : start + len(rows)]
        sums += group_sums(rows, inside, n_micro)
        squares += np.bincount(inside, np.einsum("ij,ij->i", rows, rows), minlength=n_micro)
        release(points, above=SMALL_MAP_BYTES)
    sizes = np.bincount(micro_labels, minlength=n_micro).astype(np.float64)
    means = sums / sizes[:, None]
    # The difference of two large numbers may come out slightly below 0 where all cells are equal.
    spreads = squares / sizes - np.einsum("ij,ij->i", means, means)
    return MicroClusters(means, sizes, np.maximum(spreads, 0))


def summarise_clusters(micro: MicroClusters, cluster_of_micro: IntArray) -> MicroClusters:
    """Return means, sizes and spreads of the clusters that micro-clusters form.

    The numbers are those of the cells in them, by the law of total variance.
    """
    n = int(cluster_of_micro.max()) + 1
    sizes = np.bincount(cluster_of_micro, micro.sizes, minlength=n).astype(np.float64)
    member = np.zeros((n, len(cluster_of_micro)))
    member[cluster_of_micro, np.arange(len(cluster_of_micro))] = (
        micro.sizes / sizes[cluster_of_micro]
    )
    means = member @ micro.means
    away = ((micro.means - means[cluster_of_micro]) ** 2).sum(axis=1) + micro.spreads
    return MicroClusters(means, sizes, member @ away)


def micro_clusters_inside(
    points: FloatArray, labels: IntArray, n_micro: int, *, seed: int, device: str = "cpu"
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Divide each cluster into micro-clusters by k-means.

    This is for algorithms that find clusters without micro-clusters. New cells and finer cuts need them.

    Parameters
    ----------
    points
        ndarray of float32, shape (n_points, n_dims).
    labels
        ndarray of int, shape (n_points,): 0 .. n_clusters - 1, none empty.
    n_micro
        Approximate number of micro-clusters. Each cluster gets a share by its size: at least one, and at most one
        for every four points.
    device
        Where k-means runs.

    Returns
    -------
    micro_labels : ndarray of int32, shape (n_points,)
    micro_means : ndarray of float32, shape (n_found, n_dims)
    cluster_of_micro : ndarray of int32, shape (n_found,)
    """
    from scrcl.graph.kmeans import kmeans

    micro_labels = np.empty(len(points), np.int32)
    micro_means: list[NDArray[np.float32]] = []
    cluster_of_micro: list[int] = []
    for cluster in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == cluster)
        k = max(min(round(n_micro * len(rows) / len(points)), len(rows) // 4), 1)
        found = kmeans(points[rows], k, seed=seed, n_init=1, n_iter=15, device=device)
        found = found.without_empty()
        micro_labels[rows] = found.labels + len(cluster_of_micro)
        micro_means.append(found.centroids)
        cluster_of_micro += [cluster] * len(found.centroids)
    return micro_labels, np.concatenate(micro_means), np.array(cluster_of_micro, np.int32)
