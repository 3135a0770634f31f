"""How much nearer a cell is to its own cluster mean than to any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["BLOCK_VALUES", "margins"]

BLOCK_VALUES = 4_000_000
"""Distances, or values of points, in a block: 32 MB in float64."""


def margins(points: FloatArray, labels: IntArray, cluster_means: FloatArray) -> NDArray[np.float32]:
    """Return ``1 - a / b`` of each point: ``a`` is the distance to its own cluster mean, ``b`` to the nearest other.

    Parameters
    ----------
    points, cluster_means
        ndarrays of float, shapes (n_points, n_dims) and (n_clusters, n_dims).
    labels
        ndarray of int, shape (n_points,): the cluster of each point.

    Returns
    -------
    ndarray of float32, shape (n_points,)
        0 if another mean is as near or nearer, 1 at the own mean or if there is only one cluster. Takes the memory
        of all distances, 8 bytes each.
    """
    from scipy.spatial.distance import cdist

    distances = cdist(points, cluster_means)
    at = np.arange(len(points))
    own = distances[at, labels]
    distances[at, labels] = np.inf
    other = distances.min(axis=1)
    # Where two means are equal and the point is on them, both distances are 0: the margin is 0, not NaN.
    ratio = np.divide(own, other, out=np.ones(len(own)), where=other > 0)
    return np.asarray(np.maximum(1 - ratio, 0), np.float32)
