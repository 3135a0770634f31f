"""Rare types: groups of a few cells that nearly all neighbour graphs agree on, and that no community shows.

A community takes in what a few cells have for neighbours beyond each other. So ten cells of one cell line among two
thousand of others are in a community of another line. They are looked for by themselves:

1. Two cells belong together in a graph if each is among the nearest of the other and they share nearest cells. Those
   that belong together in four of five graphs form a core. Cells of one profile, with counts as they were drawn, have
   no cores: no two representations order them alike.
2. Cores whose cells are neighbours are joined. A cell joins the core that has enough of its nearest cells.
3. A core is a type if it lies apart by two measures, the means of all representations. One is the gap to the cells
   around it, over the usual gap between a cluster and the nearest other one: so it is as far away as the clusters of
   this data set are. The other is the gap to the nearest cluster over the spread of that cluster: a pocket of a
   diffuse cluster stays in it.

Gaps are distances of means, less what chance gives for so few cells. Figures:
`bench/results/accuracy/2026-11-30-2cpu-rare.md`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = ["FEWEST_OF_CORE", "N_NEAREST", "cells_together", "with_rare_types"]

N_NEAREST = 7
"""Nearest cells that are compared. With ten and more, those of a type of ten cells are of other types too."""

_LEAST_SHARED = 0.2
"""Share of their nearest cells that two cells of a core have in common."""

_LEAST_AGREEMENT = 0.8
"""Share of the graphs in which two cells of a core belong together."""

FEWEST_OF_CORE = 4
"""Cells of a core, before cells around it join."""

_MOST_SHARE, _MOST_CELLS = 0.03, 20
"""Cells of a rare type: at most this share of all, or this number. Communities show larger ones."""

_NEIGHBOURS_JOIN = 0.25
"""Two cores are joined if so many of the nearest cells of one are in the other."""

_CELL_JOINS = 0.4
"""A cell joins a core that has so many of its nearest cells."""

_MOST_ROUNDS = 5
"""Rounds in which cores grow."""

_LEAST_GAP = 0.85
"""Smallest gap to the cells around, as a share of the median gap between clusters."""

_LEAST_SPREADS = 1.5
"""Smallest gap to the nearest cluster, in standard deviations of its cells."""

_FEWEST_AROUND = 50
"""Cells around a group that it is compared with; twice its own number if this is more."""

_KNOWN = 0.5
"""F1 with a cluster from which on a group is that cluster."""


def with_rare_types(
    labels: IntArray,
    spaces: Sequence[FloatArray],
    neighbours: Sequence[IntArray],
    *,
    fewest: int,
    known_cores: IntArray | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Return clusters with the rare types as clusters of their own, and how many rare types there are.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_cells,): clusters, 0 .. n_clusters - 1, none empty.
    spaces
        Representations: ndarrays of float, shape (n_cells, n_dims) each.
    neighbours
        Nearest cells of each cell in each graph: ndarrays of int, shape (n_cells, at least ``N_NEAREST``) each, nearest
        first; fewer where there are fewer cells.
    fewest
        Cells of the smallest rare type.
    known_cores
        ndarray of int, shape (n_cells,): groups that are cores too, as they were found among more cells; -1 for none.

    Returns
    -------
    labels
        ndarray of int64, shape (n_cells,): clusters, from 0 and without gaps; rare types have the last numbers.
    n_rare
    """
    nearest = np.concatenate([ids[:, :N_NEAREST] for ids in neighbours], axis=1)
    most = max(round(_MOST_SHARE * len(labels)), _MOST_CELLS)
    cores = _cores([ids[:, :N_NEAREST] for ids in neighbours], most)
    if known_cores is not None:
        cores = np.where((cores < 0) & (known_cores >= 0), known_cores + cores.max() + 1, cores)
        cores = np.unique(cores, return_inverse=True)[1] - int((cores < 0).any())
    groups = _grown(cores, nearest)
    found = np.array(labels, np.int64)
    n_clusters = int(labels.max()) + 1
    apart: list[_Space] = []
    for group in range(int(groups.max()) + 1):
        inside = groups == group
        if not fewest <= np.count_nonzero(inside) <= most or _is_known(labels, inside):
            continue
        apart = apart or [_Space(space, labels) for space in spaces]
        around = np.mean([space.gap_around(inside) for space in apart])
        spreads = np.mean([space.spreads_away(inside) for space in apart])
        if around >= _LEAST_GAP and spreads >= _LEAST_SPREADS:
            found[inside] = n_clusters + group
    names, found = np.unique(found, return_inverse=True)
    return found.astype(np.int64), int(np.count_nonzero(names >= n_clusters))


def _cores(neighbours: Sequence[IntArray], most: int) -> NDArray[np.int64]:
    """Return the core of each cell, from 0 and without gaps, or -1."""
    from scipy.sparse.csgraph import connected_components

    together = sum(_graph_of(ids) for ids in neighbours)
    together.data = together.data >= math.ceil(_LEAST_AGREEMENT * len(neighbours))
    together.eliminate_zeros()
    part = connected_components(together, directed=False)[1]
    sizes = np.bincount(part)
    is_core = (sizes >= FEWEST_OF_CORE) & (sizes <= most)
    cores: NDArray[np.int64] = np.where(is_core, np.cumsum(is_core) - 1, -1)[part]
    return cores


def _graph_of(ids: IntArray) -> Csr:
    """Return ones where two cells belong together, each pair once."""
    from scipy.sparse import csr_matrix

    rows, columns = np.nonzero(cells_together(ids))
    ones = np.ones(len(rows), np.float32)
    return csr_matrix((ones, (rows, ids[rows, columns])), shape=(len(ids), len(ids)))


def cells_together(nearest: IntArray) -> BoolArray:
    """Return which nearest cells belong together with a cell: among the nearest of each other, and sharing enough.

    Parameters
    ----------
    nearest
        ndarray of int, shape (n_cells, n_neighbors); negative numbers are none.

    Returns
    -------
    ndarray of bool, of the same shape
        Each pair once, in the row of the cell with the lower number.
    """
    least = math.ceil(_LEAST_SHARED * nearest.shape[1])
    together: BoolArray = compiled(_together)(np.ascontiguousarray(nearest), least)
    return together


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


def _matrix_of(ids: IntArray, n_columns: int) -> Csr:
    """Return how often each row has each column number; negative numbers are left out."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(ids)), ids.shape[1])
    kept = ids.ravel() >= 0
    ones = np.ones(np.count_nonzero(kept), np.float32)
    return csr_matrix((ones, (rows[kept], ids.ravel()[kept])), shape=(len(ids), n_columns))


def _grown(cores: NDArray[np.int64], nearest: IntArray) -> NDArray[np.int64]:
    """Return cores that are joined where they are neighbours, with the cells around them."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    for _ in range(_MOST_ROUNDS):
        n = int(cores.max()) + 1
        if n == 0:
            break
        inside = cores >= 0
        counts = _matrix_of(np.where(nearest >= 0, cores[nearest], -1), n)
        member = _matrix_of(cores[:, None], n)
        between = (member.T @ counts).toarray()
        shares = between / (np.bincount(cores[inside], minlength=n)[:, None] * nearest.shape[1])
        joined = np.maximum(shares, shares.T) >= _NEIGHBOURS_JOIN
        part = connected_components(csr_matrix(joined), directed=False)[1]
        grown = np.where(inside, part[cores], -1)
        counts = counts @ _matrix_of(part[:, None], int(part.max()) + 1)
        best = np.asarray(counts.argmax(axis=1)).ravel()
        share = np.asarray(counts.max(axis=1).todense()).ravel() / nearest.shape[1]
        joins = ~inside & (share >= _CELL_JOINS)
        grown[joins] = best[joins]
        if np.array_equal(grown, cores):
            break
        cores = grown
    return cores


def _is_known(labels: IntArray, inside: BoolArray) -> bool:
    """Return whether a group is a cluster already."""
    shared = np.bincount(labels[inside], minlength=int(labels.max()) + 1)
    f1 = 2 * shared / (np.bincount(labels) + np.count_nonzero(inside))
    return bool(f1.max() >= _KNOWN)


class _Group(NamedTuple):
    """Number of some cells, and sums of their coordinates and of the squares of these."""

    n_cells: int
    sums: FloatArray
    squares: float

    @classmethod
    def of(cls, points: FloatArray) -> _Group:
        values = points.astype(np.float64)
        return cls(len(values), values.sum(axis=0), float(np.square(values).sum()))

    def without(self, other: _Group) -> _Group:
        """Return the group without some of its cells."""
        return _Group(
            self.n_cells - other.n_cells, self.sums - other.sums, self.squares - other.squares
        )

    @property
    def variance(self) -> float:
        """Total variance; the group must have two cells."""
        away = self.squares - float(np.square(self.sums).sum()) / self.n_cells
        return max(away, 0.0) / (self.n_cells - 1)

    def gap(self, other: _Group) -> float:
        """Return the distance of the means, without the part that chance gives to means of so few cells."""
        apart = np.square(self.sums / self.n_cells - other.sums / other.n_cells).sum()
        chance = self.variance / self.n_cells + other.variance / other.n_cells
        return math.sqrt(max(float(apart) - chance, 0.0))


class _Space:
    """A representation with its clusters, and the usual gap between them."""

    def __init__(self, points: FloatArray, labels: IntArray) -> None:
        self._points, self._labels = points, labels
        self._clusters = [_Group.of(points[labels == c]) for c in range(int(labels.max()) + 1)]
        large = [cluster for cluster in self._clusters if cluster.n_cells > 1]
        nearest = [
            min(one.gap(other) for other in large if other is not one)
            for one in large
            if len(large) > 1
        ]
        self._usual_gap = float(np.median(nearest)) if nearest else 0.0

    def gap_around(self, inside: BoolArray) -> float:
        """Return the gap between a group and the cells around it, over the usual gap; infinity for one cluster."""
        if self._usual_gap == 0:
            return math.inf
        group = _Group.of(self._points[inside])
        distances = np.square(self._points - group.sums / group.n_cells).sum(axis=1)
        distances[inside] = np.inf
        n_around = min(max(_FEWEST_AROUND, 2 * group.n_cells), np.count_nonzero(~inside))
        near = np.argsort(distances, kind="stable")[:n_around]
        return group.gap(_Group.of(self._points[near])) / self._usual_gap

    def spreads_away(self, inside: BoolArray) -> float:
        """Return the gap between a group and the nearest cluster, over the spread of that cluster; 0 for none."""
        group, found = _Group.of(self._points[inside]), (math.inf, 0.0)
        for number, cluster in enumerate(self._clusters):
            shared = inside & (self._labels == number)
            others = cluster.without(_Group.of(self._points[shared]))
            if others.n_cells > 1:
                gap, spread = group.gap(others), math.sqrt(others.variance)
                found = min(found, (gap, gap / spread if spread else math.inf))
        return found[1]
