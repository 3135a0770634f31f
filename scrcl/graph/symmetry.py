"""From the neighbours of each row to symmetric edges: out of core, in time linear in the number of entries.

Which rows have a given row as a neighbour is known only after all rows were read. So each entry becomes a pair
(neighbour, row). The pairs go to a scratch file, sorted into ranges of neighbours, each small enough for memory. Then,
range by range, the rows that list a row as a neighbour are merged with its own neighbours, and appended to the result.
Pairs are written in the order of their rows. So the rows that list a given row come back ascending, and only the
neighbours of single rows are ever sorted.

Peak memory is about 30 bytes for each of ``block_entries``, and 12 bytes per row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.io.arrays import index_dtype, release, row_blocks, row_starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["BLOCK_ENTRIES", "in_degrees", "require_row_numbers", "write_edges"]

BLOCK_ENTRIES = 1 << 21
"""Neighbours and pairs in memory at once. It changes no result."""

_COARSE = 1 << 12
"""Entries of the table that finds the range of a row; it is small enough to stay in a cache."""


def require_row_numbers(ids: IntArray) -> None:
    """Raise InputError unless ``ids`` is a matrix of integers. Their range is checked while they are read."""
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        _refuse(ids, f"shape {ids.shape} of {ids.dtype}")


def in_degrees(ids: IntArray, *, block_entries: int = BLOCK_ENTRIES) -> IntArray:
    """Return how many other rows have each row as a neighbour: shape (n,), int32 if that can number n rows.

    Raises
    ------
    InputError
        An id is out of range.
    """
    require_row_numbers(ids)
    counts = np.zeros(len(ids), index_dtype(len(ids)))
    for start, block in _blocks(ids, block_entries):
        compiled(_count_neighbours)(block, start, counts)
    return counts


def write_edges(
    ids: IntArray,
    scratch: BinaryIO,
    out: BinaryIO,
    *,
    mutual: bool,
    block_entries: int = BLOCK_ENTRIES,
) -> NDArray[np.int64]:
    """Append the symmetric neighbours of every row, ascending, to ``out``; return where each row begins.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n, k): neighbours of each row; -1 is none. The row itself and repeats are
        dropped.
    scratch
        Empty file to write and read; it holds two indices for each entry of ``ids``.
    out
        File to append to, of type `index_dtype`.
    mutual
        Keep only edges that both rows list, not those that one does.
    block_entries
        Entries held in memory at once. It changes no result.

    Returns
    -------
    ndarray of int64, shape (n + 1,)

    Raises
    ------
    InputError
        An id is out of range.
    """
    n, k = ids.shape
    n_listing = in_degrees(ids, block_entries=block_entries)
    cuts, n_pairs = _ranges(n_listing, k, block_entries)
    starts = row_starts(n_pairs)
    _sort_pairs(ids, scratch, cuts, starts, block_entries)
    indptr = np.zeros(n + 1, np.int64)
    for number, (first, stop) in enumerate(pairwise(cuts.tolist())):
        pairs = _read(scratch, int(starts[number]), int(n_pairs[number]), n_listing.dtype)
        rows = _block(ids, first, stop)
        rows.sort(axis=1)
        merged = np.empty(len(pairs) + rows.size, n_listing.dtype)
        n_merged = compiled(_merge)(
            rows, first, pairs, n_listing[first:stop], mutual, merged, indptr[first + 1 : stop + 1]
        )
        out.write(merged[:n_merged].data)
    return np.cumsum(indptr, out=indptr)


def _blocks(ids: IntArray, block_entries: int) -> Iterator[tuple[int, IntArray]]:
    """Yield the first row and a copy of each block of rows, with ids checked."""
    for start, stop in row_blocks(len(ids), max(block_entries // max(ids.shape[1], 1), 1)):
        rows = ids[start:stop]
        if rows.size and not (rows.min() >= -1 and rows.max() < len(ids)):
            _refuse(ids, f"numbers from {rows.min()} to {rows.max()}")
        yield start, _block(ids, start, stop)


def _block(ids: IntArray, start: int, stop: int) -> IntArray:
    """Return a copy of some rows; pages of a memory map are released."""
    block: IntArray = np.array(ids[start:stop], index_dtype(len(ids)), order="C")
    release(ids)
    return block


def _refuse(ids: IntArray, got: str) -> None:
    message = (
        f"ids must be a matrix of row numbers from 0 to {len(ids) - 1}, or -1 for none; "
        f"got {got}. Give the ids of a neighbour search."
    )
    raise InputError(message)


def _ranges(n_listing: IntArray, k: int, block_entries: int) -> tuple[IntArray, IntArray]:
    """Cut the rows into ranges of at most ``block_entries`` entries, or of one row that has more.

    Returns
    -------
    cuts
        First row of each range, and the number of rows at the end.
    n_pairs
        Number of pairs of each range.
    """
    total = int(n_listing.sum(dtype=np.int64)) + len(n_listing) * k
    # Any two consecutive ranges together hold more than a block, which bounds their number.
    cuts = np.zeros(2 * (total // block_entries) + 3, np.int64)
    n_ranges = compiled(_cut)(n_listing, k, block_entries, cuts)
    cuts = cuts[: n_ranges + 1]
    n_pairs = [n_listing[first:stop].sum(dtype=np.int64) for first, stop in pairwise(cuts)]
    return cuts, np.array(n_pairs, np.int64)


def _sort_pairs(
    ids: IntArray, scratch: BinaryIO, cuts: IntArray, starts: IntArray, block_entries: int
) -> None:
    """Write the pairs of each range contiguously, from its entry of ``starts``, in the order of their rows."""
    shift = max(len(ids).bit_length() - _COARSE.bit_length(), 0)
    coarse = np.arange((len(ids) >> shift) + 1, dtype=np.int64) << shift
    first_range = np.searchsorted(cuts[1:-1], coarse, side="right")
    position, ends = starts[:-1].copy(), np.empty(len(cuts) - 1, np.int64)
    for start, block in _blocks(ids, block_entries):
        pairs = np.empty((block.size, 2), block.dtype)
        compiled(_group_pairs)(block, start, cuts, first_range, shift, pairs, ends)
        for number, (first, stop) in enumerate(pairwise([0, *ends.tolist()])):
            if stop > first:
                scratch.seek(int(position[number]) * pairs.itemsize * 2)
                scratch.write(pairs[first:stop].data)
                position[number] += stop - first


def _read(scratch: BinaryIO, start: int, n_pairs: int, dtype: np.dtype) -> IntArray:
    """Return the pairs of one range."""
    scratch.seek(start * dtype.itemsize * 2)
    pairs = np.frombuffer(scratch.read(n_pairs * dtype.itemsize * 2), dtype).reshape(-1, 2)
    assert len(pairs) == n_pairs, "every pair was written"
    return pairs


def _count_neighbours(block: np.ndarray, start: int, counts: np.ndarray) -> None:
    """Add one to the count of each neighbour in a block, which begins at row ``start``."""
    for at in range(len(block)):
        for neighbour in block[at]:
            if neighbour >= 0 and neighbour != start + at:
                counts[neighbour] += 1


def _cut(n_listing: np.ndarray, k: int, most: int, cuts: np.ndarray) -> int:
    """Fill in where ranges begin, and the number of rows at the end; return the number of ranges."""
    n_ranges, held = 0, 0
    for row in range(len(n_listing)):
        # What `_merge` holds for a row: the rows that list it, and its own neighbours.
        entries = n_listing[row] + k
        # A row is never split, so a hub may make a range larger than ``most``.
        if held > 0 and held + entries > most:
            n_ranges += 1
            cuts[n_ranges] = row
            held = 0
        held += entries
    cuts[n_ranges + 1] = len(n_listing)
    return n_ranges + 1


def _group_pairs(
    block: np.ndarray,
    start: int,
    cuts: np.ndarray,
    first_range: np.ndarray,
    shift: int,
    pairs: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Sort the pairs (neighbour, row) of a block by range; ``ends`` becomes where each range ends.

    A counting sort: the first turn counts, the second places. It is stable, so pairs stay in the order of their rows.
    """
    ends[:] = 0
    for turn in range(2):
        for at in range(len(block)):
            for neighbour in block[at]:
                if neighbour < 0 or neighbour == start + at:
                    continue
                # The leading bits give a range at or before the right one. Few ranges share leading bits, so this is
                # faster than a binary search for every entry.
                number = first_range[neighbour >> shift]
                while cuts[number + 1] <= neighbour:
                    number += 1
                if turn == 1:
                    pairs[ends[number], 0] = neighbour
                    pairs[ends[number], 1] = start + at
                ends[number] += 1
        if turn == 0:
            # Counts become starts; the second turn moves each start to its end.
            before = 0
            for number in range(len(ends)):
                before, ends[number] = before + ends[number], before


def _merge(
    rows: np.ndarray,
    first: int,
    pairs: np.ndarray,
    n_listing: np.ndarray,
    mutual: bool,
    merged: np.ndarray,
    degrees: np.ndarray,
) -> int:
    """Merge the neighbours of rows with the rows that list them; return the sum of ``degrees``, which it fills.

    ``rows`` holds the ascending neighbours of rows ``first`` and on. ``pairs`` holds (row, listing row).
    """
    ends = np.empty(len(rows) + 1, np.int64)
    ends[0] = 0
    for at in range(len(rows)):
        ends[at + 1] = ends[at] + n_listing[at]
    # A counting sort of the pairs by row. Pairs came in the order of the listing rows, so each list is ascending.
    listing = np.empty(len(pairs), pairs.dtype)
    position = ends[:-1].copy()
    for pair in range(len(pairs)):
        at = pairs[pair, 0] - first
        listing[position[at]] = pairs[pair, 1]
        position[at] += 1
    n_merged, k = 0, rows.shape[1]
    for at in range(len(rows)):
        # A merge of two ascending lists. A node that is in both advances both, and only such a node is mutual.
        began, last = n_merged, -1
        own, other, stop = 0, ends[at], ends[at + 1]
        while own < k or other < stop:
            is_own = other == stop or (own < k and rows[at, own] <= listing[other])
            is_other = own == k or (other < stop and listing[other] <= rows[at, own])
            node = rows[at, own] if is_own else listing[other]
            own += is_own
            other += is_other
            # ``last`` drops repeats. It starts at -1, so an id of -1 (no neighbour) is dropped too.
            if node > last and node != first + at and ((is_own and is_other) or not mutual):
                merged[n_merged] = node
                n_merged += 1
                last = node
        degrees[at] = n_merged - began
    return n_merged
