"""Means of groups of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["group_means"]


def group_means(rows: FloatArray, groups: IntArray, n_groups: int) -> NDArray[np.float64]:
    """Return the mean of each group, shape (n_groups, n_dims); 0 for a group without rows.

    Parameters
    ----------
    rows
        ndarray of float, shape (n_rows, n_dims).
    groups
        ndarray of int, shape (n_rows,): the group of each row, 0 .. n_groups - 1.
    """
    sums = np.zeros((n_groups, rows.shape[1]))
    np.add.at(sums, groups, rows)
    means: NDArray[np.float64] = (
        sums / np.maximum(np.bincount(groups, minlength=n_groups), 1)[:, None]
    )
    return means
