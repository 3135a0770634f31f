"""Cells counted by two labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["crosstab"]


def crosstab(
    rows: IntArray, columns: IntArray, n_rows: int | None = None, n_columns: int | None = None
) -> NDArray[np.int64]:
    """Return how many cells have each pair of labels: shape (n_rows, n_columns).

    Parameters
    ----------
    rows, columns
        ndarrays of int, shape (n_cells,): two labels of each cell, 0 .. n_rows - 1 and 0 .. n_columns - 1.
    n_rows, n_columns
        By default as many as the largest label asks for.
    """
    n_rows = int(rows.max()) + 1 if n_rows is None else n_rows
    n_columns = int(columns.max()) + 1 if n_columns is None else n_columns
    # Labels may be narrow integers, whose product would overflow.
    flat = np.asarray(rows, np.int64) * n_columns + columns
    return np.bincount(flat, minlength=n_rows * n_columns).reshape(n_rows, n_columns)
