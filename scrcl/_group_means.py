"""Sums and means of groups of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["group_means", "group_sums"]


def group_sums(rows: FloatArray, groups: IntArray, n_groups: int) -> NDArray[np.float64]:
    """Return the sum of each group, shape (n_groups, n_dims); 0 for a group without rows.

    Parameters
    ----------
    rows
        ndarray of float, shape (n_rows, n_dims).
    groups
        ndarray of int, shape (n_rows,): the group of each row, 0 .. n_groups - 1.
    """
    from scipy.sparse import csc_matrix

    ones, n_rows = np.ones(len(rows)), len(rows)
    member = csc_matrix((ones, groups, np.arange(n_rows + 1)), shape=(n_groups, n_rows))
    # A sparse product adds rows in their order, so sums do not depend on threads.
    sums: NDArray[np.float64] = member @ np.asarray(rows, np.float64)
    return sums


def group_means(rows: FloatArray, groups: IntArray, n_groups: int) -> NDArray[np.float64]:
    """Return the mean of each group; see `group_sums`."""
    sizes = np.bincount(groups, minlength=n_groups)
    means: NDArray[np.float64] = group_sums(rows, groups, n_groups) / np.maximum(sizes, 1)[:, None]
    return means
