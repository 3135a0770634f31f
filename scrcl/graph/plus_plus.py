"""k-means++: start centroids that lie far apart.

Draws and arithmetic are those of ``sklearn.cluster.kmeans_plusplus``, to the bit. It stands here because scikit-learn
takes a second of each run to load, and so that starts do not depend on its version.

References
----------
Arthur, Vassilvitskii: k-means++: the advantages of careful seeding. SODA 2007.
"""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.typing import FloatArray

__all__ = ["plus_plus"]

_LEAST_BLOCK_VALUES = 10 << 17


def plus_plus(points: FloatArray, k: int, *, seed: int) -> FloatArray:
    """Return ``k`` of the points.

    Each is the best of some draws: the one that leaves the smallest sum of squared distances to the nearest centroid.
    A point is drawn in proportion to its squared distance to the nearest centroid so far.

    Parameters
    ----------
    points
        ndarray of float32, shape (n_points, n_dims).
    seed
        From 0 to 2^32 - 1.

    Returns
    -------
    ndarray of float32, shape (k, n_dims)
        Memory: a few float32 values for each point, and a block of points in float64.
    """
    random = np.random.RandomState(seed)  # scikit-learn's generator
    distances = _squared_distances(points)
    ones, n_draws = np.ones(len(points), np.float32), 2 + int(log(k))
    chosen = [int(random.choice(len(points), p=ones / ones.sum()))]
    nearest = distances(points[chosen])[0]
    total = nearest @ ones
    for _ in range(1, k):
        draws = random.uniform(size=n_draws) * total
        candidates = np.searchsorted(np.cumsum(nearest), draws)
        np.minimum(candidates, len(points) - 1, out=candidates)  # sums are rounded
        left = distances(points[candidates])
        np.minimum(nearest, left, out=left)
        totals = left @ ones[:, None]
        best = int(np.argmin(totals))
        chosen.append(int(candidates[best]))
        nearest, total = left[best], totals[best]
    return points[chosen]


def _squared_distances(points: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return a function from some points to their squared distances to all points, of float32.

    They are computed in float64, in blocks of points.
    """
    n, n_dims = points.shape
    norms = np.empty(n)

    def blocks(n_some: int) -> list[slice]:
        values = max(((n_some + n) * n_dims + n_some * n) / 10, _LEAST_BLOCK_VALUES)
        rows = max(int((-2 * n_dims + sqrt((2 * n_dims) ** 2 + 4 * values)) / 2), 1)
        return [slice(start, start + rows) for start in range(0, n, rows)]

    for part in blocks(1):
        norms[part] = _squared_lengths(points[part].astype(np.float64))

    def distances(some: FloatArray) -> FloatArray:
        found = np.empty((len(some), n), np.float32)
        wide = some.astype(np.float64)
        own = _squared_lengths(wide)[:, None]
        for part in blocks(len(some)):
            away = -2 * (wide @ points[part].astype(np.float64).T)
            away += own
            away += norms[part]
            found[:, part] = away
        return np.maximum(found, 0, out=found)

    return distances


def _squared_lengths(rows: FloatArray) -> FloatArray:
    lengths: FloatArray = np.einsum("ij,ij->i", rows, rows)
    return lengths
