"""Groups of cells that lie on top of each other, as slices do whose coordinates share one range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import IntArray

__all__ = ["lie_on_top", "share_places"]

_EXCESS = 0.05
"""Excess of nearest cells from other groups, as a share of all cells."""

_ERRORS = 5.0
"""Standard errors of that excess."""


_LEAST_MIXED = 0.25
"""Nearest cells from other groups, as a share of those that chance would give. Sections of 50 cells that border on
each other reach 0.11; those that cover half of each other, 0.27 to 0.52."""

_N_NEAREST = 6


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


def share_places(ids: IntArray, cells: IntArray, codes: IntArray) -> bool:
    """Return whether groups lie in the same places: the cells around a cell are from other groups nearly as by chance.

    Cells that are scattered, with gaps between them, take up no room that would keep the nearest cell away, so
    `lie_on_top` does not see them. But groups that are mixed in one tissue look the same here: ask this only of groups
    that have a tissue of their own each. Arguments as for `lie_on_top`.
    """
    near = ids[:, :_N_NEAREST]
    there = near >= 0
    if not there.any():
        return False
    other = (codes[near] != codes[cells][:, None]) & there
    shares = np.bincount(codes[cells]) / len(cells)
    by_chance = 1 - (shares**2).sum()
    return bool(other.sum() >= _LEAST_MIXED * by_chance * there.sum() > 0)
