"""Exact search: candidates by matrix products, with a proof that rounding hid no nearer point.

The rounding error of a product has a known bound. If the k-th distance is smaller, by more than this bound, than the
least product that was left out, no nearer point was missed. If it is not (many points are equal, or nearly equal), the
query is searched again pair by pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.graph.faiss_library import pairwise
from scrcl.graph.products import half_norms, least_products, squared_distances
from scrcl.graph.ranked import nearest_of_both
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from typing import Self

    from scrcl.graph.searcher import SearchTask
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["ExactSearcher", "nearest"]

_BASE_ROWS = 65_536
"""Rows whose candidates are found before the next ones: their centred copy is a few MB."""
_SPARE = 4
"""Candidates beyond ``k``. The proof compares with the least product that was left out, so spare candidates make it
succeed more often."""
_MEAN_ROWS = 16_384
_ROUNDING = 2.0**-23
"""Relative rounding error of float32."""


class ExactSearcher:
    """Compares each query with every point; holds no copy of the points.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks by each search.
    """

    name = "exact"
    has_threads = False
    order = None

    def __init__(self, points: FloatArray) -> None:
        self._points = points
        # Products lose the digits that all points share, so distances are taken from near the mean.
        self._centre = points[:_MEAN_ROWS].mean(axis=0, dtype=np.float64).astype(np.float32)

    @classmethod
    def make(cls, points: FloatArray, task: SearchTask) -> Self:
        """Return a searcher; it needs nothing of the task."""
        del task
        return cls(points)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return the ``k`` nearest points of each query. Equal distances are ordered by id.

        Returns
        -------
        ids, squared
            ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k), ascending.
        """
        k = min(k, len(self._points))
        ids: IntArray = np.empty((len(queries), 0), np.int64)
        squared: FloatArray = np.empty((len(queries), 0), np.float32)
        left_out = np.full(len(queries), np.inf)
        centred = queries - self._centre
        longest = 0.0
        for start, stop in row_blocks(len(self._points), _BASE_ROWS):
            block = self._points[start:stop]
            base = block - self._centre
            halves = half_norms(base)
            longest = max(longest, float(np.sqrt(2 * halves.max())))
            with one_blas_thread():
                found = least_products(centred, base, halves, min(k + _SPARE, len(block)))
            # Every row that is not a candidate has a product of at least the last candidate's.
            if found.rows.shape[1] < len(block):
                left_out = np.minimum(left_out, found.values[:, -1])
            ids, squared = nearest_of_both(
                ids, squared, found.rows + start, squared_distances(queries, block, found.rows), k
            )
            release(self._points)
        doubtful = np.flatnonzero(~_is_proven(centred, squared, left_out, longest))
        if len(doubtful):
            ids[doubtful], squared[doubtful] = pairwise(queries[doubtful], self._points, k)
        return ids, squared

    def widen(self) -> bool:
        """Return False: every point is compared already."""
        return False

    def effort(self) -> dict[str, float]:
        """Return nothing: an exact search has one width."""
        return {}


def nearest(queries: FloatArray, base: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the nearest row of ``base`` for each query.

    Returns
    -------
    ids, squared
        ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries,). Of equally near rows, the
        first.
    """
    ids, squared = ExactSearcher(base).search(queries, 1)
    return ids[:, 0], squared[:, 0]


def _is_proven(
    centred: FloatArray, squared: FloatArray, left_out: FloatArray, longest: float
) -> BoolArray:
    """Return, for each query, whether no row that was left out can be as near as its k-th candidate.

    ``left_out`` is the least ``|y|^2 / 2 - x . y`` of the rows that are not candidates. A float32 sum of d products
    differs from the true one by at most d roundings of ``|x| |y|``. The halves and the distance itself have the same
    bound; 8 more roundings cover the steps around the sums.
    """
    lengths = np.linalg.norm(centred.astype(np.float64), axis=1)
    # By the triangle inequality, a row longer than this is farther than the k-th candidate: one distant row must not
    # widen the bound of all others.
    reach = np.minimum(longest, (lengths + np.sqrt(squared[:, -1])) * (1 + 1e-5))
    slack = (centred.shape[1] + 8) * _ROUNDING * (lengths + reach) ** 2
    return np.asarray(squared[:, -1] + slack < 2 * left_out + lengths**2)
