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

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["rare_regions"]

_N_NEAREST = 7
_LEAST_SHARED = 2
"""Of their seven nearest cells that two joined cells share, as `scrcl.cluster.rare` asks for."""

_FEWEST_CELLS = 4

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
    near = np.ascontiguousarray(nearest[:, :_N_NEAREST])
    group = compiled(_groups)(near, compiled(_together)(near, _LEAST_SHARED))
    sizes = np.bincount(group, minlength=n_cells)
    limit = max(_SEEN_FROM * n_cells // n_drawn, _LEAST_LIMIT)
    is_small = (sizes >= _FEWEST_CELLS) & (sizes <= limit)
    cells = np.flatnonzero(is_small[group])
    around = np.asarray(nearest[cells])
    own = group[cells]
    n_inside = np.bincount(own, (group[around] == own[:, None]).sum(axis=1), minlength=n_cells)
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


def _together(nearest: IntArray, least_shared: int) -> BoolArray:
    """Return which nearest cells belong together with a cell, shape of ``nearest``, each pair once (compiled)."""
    n_cells, k = nearest.shape
    together = np.zeros((n_cells, k), np.bool_)
    for i in range(n_cells):
        for a in range(k):
            j = nearest[i, a]
            if j <= i:  # the other cell has this pair; negative numbers are none
                continue
            is_mutual, n_shared = False, 0
            for other in nearest[j]:
                is_mutual |= other == i
                for own in nearest[i]:
                    n_shared += own == other and own >= 0
            together[i, a] = is_mutual and n_shared >= least_shared
    return together


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
