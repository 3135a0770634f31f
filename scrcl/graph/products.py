"""Nearest rows by matrix products: BLAS computes a tile of products, and a compiled scan keeps the least.

``|x - y|^2 / 2 = |x|^2 / 2 + (|y|^2 / 2 - x . y)``. For one query x, the bracket alone decides which rows are nearest,
and products run at the full arithmetic rate of the machine. Products round, so a few more candidates than wanted are
kept, and their distances are then computed pair by pair. Tiles have fixed shapes and one thread each: no result
depends on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - BLAS of compiled code: its threads can be limited only once it is loaded
from numba.extending import register_jitable

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["half_norms", "least_products", "squared_distances", "visits_of"]

_TILE_QUERIES = 256
_TILE_ROWS = 1_024
"""A tile of products in float32 takes at most 1 MiB: it is scanned while it is in the cache."""
_SCAN = 128
"""Products compared at once. Nearly always none is small enough, and all are passed over, ..."""
_FINE_SCAN = 16
"""... else they are compared so many at once, and then one by one."""


class _Candidates(NamedTuple):
    """For each query, rows with the least ``|y|^2 / 2 - x . y``."""

    rows: NDArray[np.int64]
    """shape (n_queries, k), ascending by value; -1 if fewer rows were visited"""
    values: NDArray[np.float32]
    """shape (n_queries, k); infinity if there is no row"""


def half_norms(points: FloatArray) -> NDArray[np.float32]:
    """Return half the squared length of each row: float32, shape (n_points,)."""
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
    known: _Candidates | None = None,
) -> _Candidates:
    """Return the ``k`` best candidates of each query among the rows of the lists that it visits.

    Parameters
    ----------
    queries, base
        ndarrays of float32, C order, shapes (n_queries, n_dims) and (n_base, n_dims).
    halves
        `half_norms` of ``base``.
    k
        Number of candidates.
    starts
        ndarray of int64, shape (n_lists + 1,): list i is rows ``starts[i]`` to ``starts[i + 1]``.
    visitors, visits
        From `visits_of`: the queries that visit each list. If these three are None, all queries visit all rows.
    known
        ``k`` candidates of each query from other lists. They are updated in place and returned.

    Returns
    -------
    Candidates
        Their ``rows`` (int64, -1 if there are fewer) and ``values`` (float32), both (n_queries, k), ascending. Of
        equal values the lowest rows. The caller keeps BLAS to one thread.
    """
    if starts is None or visitors is None or visits is None:
        starts = np.array([0, len(base)], np.int64)
        visitors, visits = np.arange(len(queries)), np.array([0, len(queries)], np.int64)
    if known is None:
        known = _Candidates(
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
    n_lists
        Number of lists.

    Returns
    -------
    visitors
        ndarray of int64: the queries that visit the first list, ascending, then those of the second, and so on.
    visits
        ndarray of int64, shape (n_lists + 1,): where the visitors of each list begin, and the end.
    """
    visits = np.zeros(n_lists + 1, np.int64)
    visits[1:] = np.cumsum(np.bincount(lists[lists >= 0], minlength=n_lists))
    visitors = np.empty(visits[-1], np.int64)
    compiled(_sort_by_list)(lists, visits[:-1].copy(), visitors)
    return visitors, visits


def squared_distances(
    queries: FloatArray, points: FloatArray, rows: IntArray
) -> NDArray[np.float32]:
    """Return squared distances of each query to its rows, pair by pair; infinity for row -1."""
    squared = np.empty(rows.shape, np.float32)
    compiled(_measure, contract=True)(queries, points, rows, squared)
    return squared


@register_jitable  # type: ignore[untyped-decorator]
def _any_below(products: FloatArray, halves: FloatArray, limit: float) -> bool:
    """Return whether any ``halves - products`` is below ``limit``."""
    found = False
    # No early return: without a branch in the loop, the compiler compares 16 values at a time.
    for j in range(len(products)):
        found |= halves[j] - products[j] < limit
    return found


@register_jitable  # type: ignore[untyped-decorator]
def _scan(
    tile: FloatArray,
    halves: FloatArray,
    first: int,
    queries: IntArray,
    rows: IntArray,
    values: FloatArray,
) -> None:
    """Insert the products of a tile into the candidates of its queries.

    Row ``at`` of the tile is query ``queries[at]``, and its column j is row ``first + j`` of the base.
    """
    last, n_rows = values.shape[1] - 1, tile.shape[1]
    for at in range(tile.shape[0]):
        kept, kept_rows = values[queries[at]], rows[queries[at]]
        # ``kept`` is ascending, so its last value is the bound to pass. It only falls, and after the first rows few
        # products pass it: coarse tests skip nearly all of the tile.
        for start in range(0, n_rows, _SCAN):
            end = min(start + _SCAN, n_rows)
            if not _any_below(tile[at, start:end], halves[start:end], kept[last]):
                continue
            for inner in range(start, end, _FINE_SCAN):
                products = tile[at, inner : min(inner + _FINE_SCAN, end)]
                half = halves[inner:end]
                if not _any_below(products, half, kept[last]):
                    continue
                for j in range(len(products)):
                    value = half[j] - products[j]
                    # Strictly below: of equal values the first row stays, and rows come in ascending order.
                    if value < kept[last]:
                        position = last
                        while position > 0 and kept[position - 1] > value:
                            kept[position] = kept[position - 1]
                            kept_rows[position] = kept_rows[position - 1]
                            position -= 1
                        kept[position], kept_rows[position] = value, first + inner + j


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
    """Update the candidates (``rows``, ``values``) of all queries, list by list."""
    # Both are reused by all tiles: memory does not depend on the number of queries.
    gathered = np.empty((_TILE_QUERIES, queries.shape[1]), np.float32)
    room = np.empty(_TILE_QUERIES * _TILE_ROWS, np.float32)
    for i in range(len(starts) - 1):
        n_tiles = -(-(starts[i + 1] - starts[i]) // _TILE_ROWS)
        for number in range(n_tiles):
            # Tiles of about equal size: a narrow last tile would be multiplied far below the full rate.
            first = starts[i] + (starts[i + 1] - starts[i]) * number // n_tiles
            last = starts[i] + (starts[i + 1] - starts[i]) * (number + 1) // n_tiles
            # Queries inside rows: the rows of the tile stay in the cache for all queries that visit them.
            for begin in range(visits[i], visits[i + 1], _TILE_QUERIES):
                asking = visitors[begin : min(begin + _TILE_QUERIES, visits[i + 1])]
                # The visitors of a list are scattered, and BLAS needs contiguous rows.
                for at in range(len(asking)):
                    gathered[at] = queries[asking[at]]
                tile = room[: len(asking) * (last - first)].reshape(len(asking), last - first)
                np.dot(gathered[: len(asking)], base[first:last].T, tile)
                _scan(tile, halves[first:last], first, asking, rows, values)


def _sort_by_list(lists: IntArray, ends: IntArray, visitors: IntArray) -> None:
    """Sort queries by list, by counting; ``ends`` begins as the starts of the lists."""
    # Queries are taken in order, so the visitors of each list are ascending.
    for query in range(lists.shape[0]):
        for visit in range(lists.shape[1]):
            number = lists[query, visit]
            if number >= 0:
                visitors[ends[number]] = query
                ends[number] += 1


def _measure(queries: FloatArray, points: FloatArray, rows: IntArray, squared: FloatArray) -> None:
    """Fill in squared distances. Differences are squared, so no digits are lost to common offsets."""
    for query in range(rows.shape[0]):
        for position in range(rows.shape[1]):
            row = rows[query, position]
            total = np.float32(np.inf)
            if row >= 0:
                total = np.float32(0)
                for j in range(queries.shape[1]):
                    gap = queries[query, j] - points[row, j]
                    total += gap * gap
            squared[query, position] = total
