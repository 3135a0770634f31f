"""Groups of cells that lie on top of each other, as slices do whose coordinates share one range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import IntArray

__all__ = ["lie_on_top"]

_EXCESS = 0.05
"""Excess of nearest cells from other groups, as a share of all cells."""

_ERRORS = 5.0
"""Standard errors of that excess."""


def lie_on_top(ids: IntArray, cells: IntArray, codes: IntArray) -> bool:
    """Return whether groups lie on top of each other.

    Cells of one slice take up room, so the very nearest cell is seldom close by. A cell of another slice may lie
    anywhere. So where slices lie on top of each other, the nearest cell is from another group more often than cells a
    little further away. Groups that are mixed in one tissue, such as donors in a culture, have no such excess; groups
    that keep to places of their own have less.

    Parameters
    ----------
    ids
        Nearest cells of some cells, shape (n_some, k), the nearest first; negative where there is none.
    cells
        Numbers of these cells, shape (n_some,).
    codes
        Group of each cell, shape (n_cells,).
    """
    there = ids >= 0
    rows = there[:, 0]
    if not rows.any():
        return False
    other = (codes[ids] != codes[cells][:, None]) & there
    excess = other[rows, 0] - other[rows].sum(axis=1) / there[rows].sum(axis=1)
    return bool(excess.mean() > max(_EXCESS, _ERRORS * excess.std() / np.sqrt(len(excess))))
