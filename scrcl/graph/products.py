"""Nearest rows by matrix products: a BLAS call makes a tile of products, a compiled scan keeps the least.

``|x - y|^2 / 2 = |x|^2 / 2 + (|y|^2 / 2 - x . y)``: for one query the bracket alone decides, and products
run at the arithmetic rate of the machine. They round, so what is kept is a few candidates more than
wanted, which are then measured pair by pair. Tiles have fixed shapes and one thread each: no result
depends on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS of compiled code: only when loaded it can be held
from numba.extending import register_jitable

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["Candidates", "half_norms", "least_products", "measured", "visits_of"]

TILE_QUERIES = 256
TILE_ROWS = 1_024
"""A tile of products in float32 takes 1 MiB at most: it is scanned while it is in the cache."""
SCAN = 128
"""Products compared at once; only where one of them is small enough are they looked at again, ..."""
FINE_SCAN = 16
"""... so many at once, and then singly."""


class Candidates(NamedTuple):
    """Rows of the least ``|y|^2 / 2 - x . y`` for each query."""

    rows: NDArray[np.int64]
    """shape (n_queries, k), ascending by value; -1 where fewer rows were visited"""
    values: NDArray[np.float32]
    """shape (n_queries, k), infinity where there is no row"""


def half_norms(points: FloatArray) -> NDArray[np.float32]:
    """Return half the squared length of each row, float32, shape (n_points,)."""
    return np.asarray(np.einsum("ij,ij->i", points, points) / 2, dtype=np.float32)


def least_products(
    queries: FloatArray,
    base: FloatArray,
    halves: FloatArray,
    k: int,
    *,
    starts: IntArray | None = None,
    visitors: IntArray | None = None,
    visits: IntArray | None = None,
    known: Candidates | None = None,
) -> Candidates:
    """Keep the ``k`` least of each query among the rows of the lists that it visits.

    Parameters
    ----------
    queries, base
        ndarrays of float32, C order, shapes (n_queries, n_dims) and (n_base, n_dims).
    halves
        `half_norms` of ``base``.
    starts
        ndarray of int64, shape (n_lists + 1,): list i is rows ``starts[i]`` to ``starts[i + 1]``.
    visitors, visits
        From `visits_of`: the queries that visit each list. Where these three are None, all queries
        visit all rows.
    known
        Candidates of other lists, ``k`` of each query, which are added to and returned.

    Returns
    -------
    Candidates
        Of equal values the lowest rows. The caller holds BLAS to one thread.
    """
    if starts is None or visitors is None or visits is None:
        starts = np.array([0, len(base)], np.int64)
        visitors, visits = np.arange(len(queries)), np.array([0, len(queries)], np.int64)
    if known is None:
        known = Candidates(
            np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        )
    compiled(_visit)(queries, base, halves, starts, visitors, visits, *known)
    return known


def visits_of(lists: IntArray, n_lists: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Turn the lists that each query visits into the queries that visit each list.

    Parameters
    ----------
    lists
        ndarray of int64, shape (n_queries, n_visits); -1 for none.

    Returns
    -------
    visitors, visits
        Queries of the first list, ascending, then of the second, ...; and where each list's begin,
        shape (n_lists + 1,).
    """
    visits = np.zeros(n_lists + 1, np.int64)
    visits[1:] = np.cumsum(np.bincount(lists[lists >= 0], minlength=n_lists))
    visitors = np.empty(visits[-1], np.int64)
    compiled(_by_list)(lists, visits[:-1].copy(), visitors)
    return visitors, visits


def measured(queries: FloatArray, points: FloatArray, rows: IntArray) -> NDArray[np.float32]:
    """Return squared distances of each query to its rows, pair by pair; infinity for row -1."""
    squared = np.empty(rows.shape, np.float32)
    compiled(_measure, contract=True)(queries, points, rows, squared)
    return squared


@register_jitable  # type: ignore[untyped-decorator]
def _any_below(part: FloatArray, half: FloatArray, limit: float) -> bool:
    near = False
    for j in range(len(part)):  # without a branch, so that it is done 16 at a time
        near |= half[j] - part[j] < limit
    return near


@register_jitable  # type: ignore[untyped-decorator]
def _scan(
    tile: FloatArray,
    halves: FloatArray,
    first: int,
    asking: IntArray,
    rows: IntArray,
    values: FloatArray,
) -> None:
    last_place, n_rows = values.shape[1] - 1, tile.shape[1]
    for at in range(tile.shape[0]):
        kept, kept_rows = values[asking[at]], rows[asking[at]]
        for start in range(0, n_rows, SCAN):
            end = min(start + SCAN, n_rows)
            if not _any_below(tile[at, start:end], halves[start:end], kept[last_place]):
                continue
            for inner in range(start, end, FINE_SCAN):
                part, half = tile[at, inner : min(inner + FINE_SCAN, end)], halves[inner:end]
                if not _any_below(part, half, kept[last_place]):
                    continue
                for j in range(len(part)):
                    value = half[j] - part[j]
                    if value < kept[last_place]:
                        place = last_place
                        while place > 0 and kept[place - 1] > value:
                            kept[place], kept_rows[place] = kept[place - 1], kept_rows[place - 1]
                            place -= 1
                        kept[place], kept_rows[place] = value, first + inner + j


def _visit(
    queries: FloatArray,
    base: FloatArray,
    halves: FloatArray,
    starts: IntArray,
    visitors: IntArray,
    visits: IntArray,
    rows: IntArray,
    values: FloatArray,
) -> None:
    gathered = np.empty((TILE_QUERIES, queries.shape[1]), np.float32)
    room = np.empty(TILE_QUERIES * TILE_ROWS, np.float32)
    for i in range(len(starts) - 1):
        n_tiles = -(-(starts[i + 1] - starts[i]) // TILE_ROWS)
        for number in range(n_tiles):
            # Tiles of about one size: a narrow rest would be multiplied far below the full rate.
            first = starts[i] + (starts[i + 1] - starts[i]) * number // n_tiles
            last = starts[i] + (starts[i + 1] - starts[i]) * (number + 1) // n_tiles
            for begin in range(visits[i], visits[i + 1], TILE_QUERIES):
                asking = visitors[begin : min(begin + TILE_QUERIES, visits[i + 1])]
                for at in range(len(asking)):
                    gathered[at] = queries[asking[at]]
                tile = room[: len(asking) * (last - first)].reshape(len(asking), last - first)
                np.dot(gathered[: len(asking)], base[first:last].T, tile)
                _scan(tile, halves[first:last], first, asking, rows, values)


def _by_list(lists: IntArray, ends: IntArray, visitors: IntArray) -> None:
    for query in range(lists.shape[0]):
        for visit in range(lists.shape[1]):
            at = lists[query, visit]
            if at >= 0:
                visitors[ends[at]] = query
                ends[at] += 1


def _measure(queries: FloatArray, points: FloatArray, rows: IntArray, squared: FloatArray) -> None:
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            total = np.float32(np.inf)
            if row >= 0:
                total = np.float32(0)
                for j in range(queries.shape[1]):
                    apart = queries[query, j] - points[row, j]
                    total += apart * apart
            squared[query, place] = total
