"""Groups inside clusters that were found without any: what new cells are assigned by, and what a finer cut cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["groups_inside"]


def groups_inside(
    points: FloatArray, labels: IntArray, n_groups: int, *, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Cut each cluster into groups by k-means, as many as is its share of ``n_groups``.

    Parameters
    ----------
    points
        ndarray of float32, shape (n_points, n_dims).
    labels
        ndarray of int, shape (n_points,): 0 .. n_clusters - 1, none empty.
    n_groups
        About how many; a cluster has at least one, and a quarter of its points at most.

    Returns
    -------
    groups, centres, owners
        The group of each point, int32; centre of each group, float32 of shape (n_found, n_dims); its cluster, int32.
    """
    from scrcl.cluster.algorithms.kmeans import without_empty
    from scrcl.graph.kmeans import kmeans

    groups = np.empty(len(points), np.int32)
    centres: list[NDArray[np.float32]] = []
    owners: list[int] = []
    for cluster in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == cluster)
        k = max(min(round(n_groups * len(rows) / len(points)), len(rows) // 4), 1)
        found = without_empty(kmeans(points[rows], k, seed=seed, n_init=1, n_iter=15))
        groups[rows] = found.labels + len(owners)
        centres.append(found.centroids)
        owners += [cluster] * len(found.centroids)
    return groups, np.concatenate(centres), np.array(owners, np.int32)
