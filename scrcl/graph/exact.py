"""Exact search: candidates by matrix products, proven against rounding, or else found pair by pair.

A product rounds by no more than a known bound. Where the ``k``-th distance lies further than that under
the least product that was left out, nothing nearer can have been missed. Where it does not (many
points equal or nearly so), the query is searched again by FAISS, pair by pair, ties by id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.graph.index import pairwise
from scrcl.graph.products import half_norms, least_products, measured
from scrcl.graph.ranked import sort_by_distance
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["ExactSearcher", "nearest"]

BASE_ROWS = 65_536
"""Rows whose candidates are taken before the next: their copy, moved to the mean, is a few MB."""
SPARE = 4
"""Candidates beyond ``k``."""
MEAN_ROWS = 16_384
ROUNDING = 2.0**-23


class ExactSearcher:
    """Compares each query with every point; holds no copy of them.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks on each search.
    """

    name = "exact"
    has_threads = False
    order = None

    def __init__(self, points: FloatArray) -> None:
        self._points = points
        # Products lose the digits that all points have in common.
        self._centre = points[:MEAN_ROWS].mean(axis=0, dtype=np.float64).astype(np.float32)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return the ``k`` nearest points of each query; of equally near ones the lowest ids.

        Returns
        -------
        ids, squared
            ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k),
            ascending.
        """
        k = min(k, len(self._points))
        ids: IntArray = np.empty((len(queries), 0), np.int64)
        squared: FloatArray = np.empty((len(queries), 0), np.float32)
        left_out = np.full(len(queries), np.inf)
        moved = queries - self._centre
        longest = 0.0
        for start, stop in row_blocks(len(self._points), BASE_ROWS):
            block = self._points[start:stop]
            base = block - self._centre
            halves = half_norms(base)
            longest = max(longest, float(np.sqrt(2 * halves.max())))
            with one_blas_thread():
                found = least_products(moved, base, halves, min(k + SPARE, len(block)))
            if found.rows.shape[1] < len(block):
                left_out = np.minimum(left_out, found.values[:, -1])
            ids, squared = _merge(
                ids, squared, found.rows + start, measured(queries, block, found.rows), k
            )
            release(self._points)
        doubtful = np.flatnonzero(~_proven(moved, squared, left_out, longest))
        if len(doubtful):
            ids[doubtful], squared[doubtful] = pairwise(queries[doubtful], self._points, k)
        return ids, squared

    def look_further(self) -> bool:
        """Return False: nothing is left out."""
        return False

    def effort(self) -> dict[str, float]:
        """Return nothing: there is nothing to set."""
        return {}


def nearest(queries: FloatArray, base: FloatArray) -> tuple[IntArray, FloatArray]:
    """Find the nearest row of ``base`` for each query.

    Returns
    -------
    ids, squared
        ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries,). Of equally
        near rows the first.
    """
    ids, squared = ExactSearcher(base).search(queries, 1)
    return ids[:, 0], squared[:, 0]


def _merge(
    ids: IntArray, squared: FloatArray, more: IntArray, apart: FloatArray, k: int
) -> tuple[IntArray, FloatArray]:
    """Keep the ``k`` nearest of those known and some more."""
    ids, squared = sort_by_distance(
        np.concatenate([ids, more], axis=1), np.concatenate([squared, apart], axis=1)
    )
    return ids[:, :k], squared[:, :k]


def _proven(
    moved: FloatArray, squared: FloatArray, left_out: FloatArray, longest: float
) -> BoolArray:
    """Whether no row that was left out can be as near as the last that was kept.

    ``left_out`` is the least ``|y|^2 / 2 - x . y`` of rows that are no candidates. A sum of d products
    is wrong by at most d roundings of ``|x| |y|``; so are the halves and the distance itself.
    """
    lengths = np.linalg.norm(moved.astype(np.float64), axis=1)
    # A row longer than this cannot be nearer than the last that was kept.
    reach = np.minimum(longest, (lengths + np.sqrt(squared[:, -1])) * (1 + 1e-5))
    slack = (moved.shape[1] + 8) * ROUNDING * (lengths + reach) ** 2
    return np.asarray(squared[:, -1] + slack < 2 * left_out + lengths**2)
