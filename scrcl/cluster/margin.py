"""How much nearer a cell is to its own cluster than to any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["BLOCK_VALUES", "margins"]

BLOCK_VALUES = 4_000_000
"""Distances, or values of points, at a time."""


def margins(points: FloatArray, labels: IntArray, centroids: FloatArray) -> NDArray[np.float32]:
    """Return ``1 - a / b`` of each point: ``a`` is the distance to its own centroid, ``b`` to the nearest other.

    Parameters
    ----------
    points, centroids
        ndarrays of float, shapes (n_points, n_dims) and (n_clusters, n_dims).
    labels
        ndarray of int, shape (n_points,): the cluster of each.

    Returns
    -------
    ndarray of float32, shape (n_points,)
        From 0 (as near to another, or nearer) to 1 (at its centroid, or there is no other). Memory is that of the
        distances, 8 bytes each.
    """
    from scipy.spatial.distance import cdist

    apart = cdist(points, centroids)
    at = np.arange(len(points))
    own = apart[at, labels]
    apart[at, labels] = np.inf
    other = apart.min(axis=1)
    ratio = np.divide(own, other, out=np.ones(len(own)), where=other > 0)
    return np.asarray(np.maximum(1 - ratio, 0), np.float32)
