"""The nearest of thousands of centroids, looked for in the groups that are nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.graph.products import half_norms, least_products, visits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["CentroidSearch"]

LEAST_GROUPS = 6
WIDTH = 4
"""Centroids looked at for each that is wanted, at least: groups are round, neighbourhoods are not."""


class CentroidSearch:
    """Finds the nearest centroids of points; nearly always the very nearest.

    Parameters
    ----------
    centroids
        ndarray of float32, shape (n_lists, n_dims), group by group.
    groups
        ndarray of int64, shape (n_groups + 1,): where groups begin.
    """

    def __init__(self, centroids: FloatArray, groups: IntArray) -> None:
        self.centre = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._centroids = centroids - self.centre
        self._groups = np.asarray(groups, np.int64)
        self._halves = half_norms(self._centroids)
        sums = np.add.reduceat(self._centroids, self._groups[:-1], axis=0, dtype=np.float64)
        self._middles = (sums / np.diff(self._groups)[:, None]).astype(np.float32)
        self._middle_halves = half_norms(self._middles)

    @property
    def n_lists(self) -> int:
        """Number of centroids."""
        return len(self._centroids)

    def lists(self, moved: FloatArray, n: int) -> NDArray[np.int64]:
        """Return the ``n`` nearest centroids of each query, nearest first.

        Parameters
        ----------
        moved
            ndarray of float32, C order, shape (n_queries, n_dims): queries less ``centre``, for products
            lose the digits that all points have in common.

        Returns
        -------
        ndarray of int64, shape (n_queries, n)
            -1 at the end of a row where the groups looked at have fewer.
        """
        n_groups = len(self._middles)
        mean_lists = self.n_lists / n_groups
        n_visits = min(n_groups, max(LEAST_GROUPS, int(np.ceil(WIDTH * n / mean_lists))))
        with one_blas_thread():
            near = least_products(moved, self._middles, self._middle_halves, n_visits)
            visitors, visits = visits_of(near.rows, n_groups)
            return least_products(
                moved,
                self._centroids,
                self._halves,
                n,
                starts=self._groups,
                visitors=visitors,
                visits=visits,
            ).rows
