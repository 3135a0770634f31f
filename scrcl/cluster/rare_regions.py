"""Regions of an atlas where rare types may be: small groups of cells that are near each other and to few others.

In an atlas of a million cells a type of two hundred has two among ten thousand that are drawn at random. So all cells
are looked at, by the nearest neighbours that the graph of the run was made from. Cells that are among the nearest of
each other, and share nearest cells, are joined. In large types this joins nearly all cells to one group. What stays
small is a rare type, or a few cells at an edge: `scrcl.cluster.rare` tells these apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled
from scrcl.cluster.rare import FEWEST_OF_CORE, N_NEAREST, cells_together

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["rare_regions"]

_SEEN_FROM, _LEAST_LIMIT = 10, 20
"""A group that has more cells than this in the draw, on average, is seen there; smaller than the limit it never is."""


def rare_regions(nearest: IntArray, *, n_drawn: int, most: int) -> tuple[IntArray, IntArray]:
    """Return the cells of small groups, and their nearest cells.

    Parameters
    ----------
    nearest
        ndarray or memory map of int, shape (n_cells, n_neighbors): nearest cells of each cell, the nearest first;
        negative numbers are none.
    n_drawn
        How many cells are drawn at random. Groups that are seen among them are left out.
    most
        Number of cells after which no other group is added. Groups come first whose cells have most of their neighbours
        among themselves.

    Returns
    -------
    cells
        ndarray of int64, shape (n_found,): their positions, ascending.
    groups
        ndarray of int64, shape (n_found,): the group of each, from 0 and without gaps; -1 for cells around groups.
    """
    n_cells = len(nearest)
    near = np.ascontiguousarray(nearest[:, :N_NEAREST])
    group = compiled(_groups)(near, cells_together(near))
    sizes = np.bincount(group, minlength=n_cells)
    limit = max(_SEEN_FROM * n_cells // n_drawn, _LEAST_LIMIT)
    is_small = (sizes >= FEWEST_OF_CORE) & (sizes <= limit)
    cells = np.flatnonzero(is_small[group])
    around = np.asarray(nearest[cells])
    own = group[cells]
    is_inside = (around >= 0) & (group[around] == own[:, None])
    n_inside = np.bincount(own, is_inside.sum(axis=1), minlength=n_cells)
    share = n_inside / (np.maximum(sizes, 1) * nearest.shape[1])
    kept = _first_groups(np.flatnonzero(is_small), share, sizes * (1 + nearest.shape[1]), most)
    inside = np.isin(own, kept)
    found = np.union1d(cells[inside], around[inside]).astype(np.int64)
    found = found[found >= 0]
    numbers = np.full(n_cells, -1)
    numbers[kept] = np.arange(len(kept))
    return found, numbers[group[found]]


def _first_groups(groups: IntArray, share: FloatArray, n_cells: IntArray, most: int) -> IntArray:
    """Return the groups of the largest shares whose cells, with those around them, are at most so many."""
    order = groups[np.argsort(-share[groups], kind="stable")]
    return order[np.cumsum(n_cells[order]) <= most]


def _groups(nearest: IntArray, together: BoolArray) -> IntArray:
    """Return the group of each cell, named by its first cell (compiled)."""
    first = np.arange(len(nearest))
    for i in range(len(nearest)):
        for j in nearest[i][together[i]]:
            ends = np.array([i, j])
            for at in range(2):
                while first[ends[at]] != ends[at]:
                    # Ways to the first cell are halved, so a group of a million cells stays quick.
                    first[ends[at]] = first[first[ends[at]]]
                    ends[at] = first[ends[at]]
            first[ends.max()] = ends.min()
    for i in range(len(first)):  # the first cell of a group comes before the others
        first[i] = first[first[i]]
    return first
