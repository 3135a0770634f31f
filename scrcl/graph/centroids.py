"""Find the nearest of thousands of centroids, by looking only into the groups whose means are nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.graph.products import half_norms, least_products, visits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["CentroidSearch"]

_LEAST_GROUPS = 6
_WIDTH = 4
"""Compare at least so many centroids for each wanted one. Groups are round and neighbourhoods are not, so the nearest
centroids spread over several groups."""


class CentroidSearch:
    """Finds the nearest centroids of points: nearly always the true nearest.

    Parameters
    ----------
    centroids
        ndarray of float32, shape (n_lists, n_dims), group by group.
    groups
        ndarray of int64, shape (n_groups + 1,): first centroid of each group, and the end.

    Attributes
    ----------
    centre
        ndarray of float32, shape (n_dims,): mean of the centroids.
    """

    def __init__(self, centroids: FloatArray, groups: IntArray) -> None:
        self.centre = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._centroids = centroids - self.centre
        self._groups = np.asarray(groups, np.int64)
        self._halves = half_norms(self._centroids)
        sums = np.add.reduceat(self._centroids, self._groups[:-1], axis=0, dtype=np.float64)
        self._group_means = (sums / np.diff(self._groups)[:, None]).astype(np.float32)
        self._group_halves = half_norms(self._group_means)

    @property
    def n_lists(self) -> int:
        """Number of centroids."""
        return len(self._centroids)

    def nearest_lists(self, centred: FloatArray, n: int) -> NDArray[np.int64]:
        """Return the ``n`` nearest centroids of each query, nearest first.

        Parameters
        ----------
        centred
            ndarray of float32, C order, shape (n_queries, n_dims): queries minus ``centre``. Products would lose the
            digits that all points share.
        n
            Number of centroids.

        Returns
        -------
        ndarray of int64, shape (n_queries, n)
            -1 at the end of a row if the groups have fewer centroids.
        """
        n_groups = len(self._group_means)
        mean_lists = self.n_lists / n_groups
        n_visits = min(n_groups, max(_LEAST_GROUPS, int(np.ceil(_WIDTH * n / mean_lists))))
        with one_blas_thread():
            near = least_products(centred, self._group_means, self._group_halves, n_visits)
            visitors, visits = visits_of(near.rows, n_groups)
            return least_products(
                centred,
                self._centroids,
                self._halves,
                n,
                starts=self._groups,
                visitors=visitors,
                visits=visits,
            ).rows
