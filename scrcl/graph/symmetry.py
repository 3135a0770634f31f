"""From neighbours of each row to the edges between both: out of core, and in time linear in them.

Who names a row is known only when all rows were read. So the pairs (named row, row that names it)
are first sorted into ranges of rows, each small enough for memory, in a scratch file; then, range by
range, the rows that name a row are merged with those it names, and appended. A pair arrives in the
order of the row that names, hence each list is ascending when it is read and nothing is sorted
but the neighbours of one row.

Peak memory is some 30 bytes for each of ``block_entries``, and 12 bytes a row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.io.arrays import index_dtype, release, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["BLOCK_ENTRIES", "named_counts", "require_row_numbers", "write_edges"]

BLOCK_ENTRIES = 1 << 21
"""Entries of rows and of those that name them in memory at once; changes no result."""

COARSE = 1 << 12


def require_row_numbers(ids: IntArray) -> None:
    """Raise InputError unless ``ids`` is a matrix of integers; their range is checked on reading."""
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        _refuse(ids, f"shape {ids.shape} of {ids.dtype}")


def named_counts(ids: IntArray, *, block_entries: int = BLOCK_ENTRIES) -> IntArray:
    """Return how many rows name each row, itself left out: shape (n,), int32 where that holds n.

    Raises
    ------
    InputError
        When an id is out of range.
    """
    require_row_numbers(ids)
    counts = np.zeros(len(ids), index_dtype(len(ids)))
    for start, block in _blocks(ids, block_entries):
        compiled(_count_named)(block, start, counts)
    return counts


def write_edges(
    ids: IntArray,
    scratch: BinaryIO,
    out: BinaryIO,
    *,
    mutual: bool,
    block_entries: int = BLOCK_ENTRIES,
) -> NDArray[np.int64]:
    """Append the neighbours of every row, ascending, to ``out``; returns where each row begins.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n, k): rows that each row names; -1 is none. A row
        itself and repeats are left out.
    scratch
        Empty file to read and write; holds two indices for each entry of ``ids``.
    out
        File to append to, of `index_dtype`.
    mutual
        Keep pairs that name each other, and not all that are named.

    Raises
    ------
    InputError
        When an id is out of range.
    """
    n, k = ids.shape
    named = named_counts(ids, block_entries=block_entries)
    cuts, n_pairs = _ranges(named, k, block_entries)
    starts = np.concatenate([[0], np.cumsum(n_pairs)])
    _sort_pairs(ids, scratch, cuts, starts, block_entries)
    indptr = np.zeros(n + 1, np.int64)
    for number, (first, stop) in enumerate(pairwise(cuts.tolist())):
        pairs = _read(scratch, int(starts[number]), int(n_pairs[number]), named.dtype)
        rows = _block(ids, first, stop)
        rows.sort(axis=1)
        merged = np.empty(len(pairs) + rows.size, named.dtype)
        n_merged = compiled(_merge)(
            rows, first, pairs, named[first:stop], mutual, merged, indptr[first + 1 : stop + 1]
        )
        out.write(merged[:n_merged].data)
    return np.cumsum(indptr, out=indptr)


def _blocks(ids: IntArray, block_entries: int) -> Iterator[tuple[int, IntArray]]:
    """Yield the first row and a copy of each block of rows, their numbers checked."""
    for start, stop in row_blocks(len(ids), max(block_entries // max(ids.shape[1], 1), 1)):
        part = ids[start:stop]
        if part.size and not (part.min() >= -1 and part.max() < len(ids)):
            _refuse(ids, f"numbers from {part.min()} to {part.max()}")
        yield start, _block(ids, start, stop)


def _block(ids: IntArray, start: int, stop: int) -> IntArray:
    """Return a copy of some rows; pages of a memory map are let go."""
    block: IntArray = np.array(ids[start:stop], index_dtype(len(ids)), order="C")
    release(ids)
    return block


def _refuse(ids: IntArray, got: str) -> None:
    msg = (
        f"ids must be a matrix of row numbers from 0 to {len(ids) - 1}, or -1 for none; "
        f"got {got}. Give the ids of a neighbour search."
    )
    raise InputError(msg)


def _ranges(named: IntArray, k: int, block_entries: int) -> tuple[IntArray, IntArray]:
    """Cut the rows into ranges of ``block_entries`` (one row, if that has more).

    Returns the first row of each range and, last, the number of rows; and the pairs of each range.
    """
    total = int(named.sum(dtype=np.int64)) + len(named) * k
    # Two ranges side by side hold more than a block.
    cuts = np.zeros(2 * (total // block_entries) + 3, np.int64)
    n_ranges = compiled(_cut)(named, k, block_entries, cuts)
    cuts = cuts[: n_ranges + 1]
    n_pairs = [named[first:stop].sum(dtype=np.int64) for first, stop in pairwise(cuts)]
    return cuts, np.array(n_pairs, np.int64)


def _sort_pairs(
    ids: IntArray, scratch: BinaryIO, cuts: IntArray, starts: IntArray, block_entries: int
) -> None:
    """Write the pairs of each range together, from ``starts``, in the order of the naming rows."""
    shift = max(len(ids).bit_length() - COARSE.bit_length(), 0)
    coarse = np.arange((len(ids) >> shift) + 1, dtype=np.int64) << shift
    first_range = np.searchsorted(cuts[1:-1], coarse, side="right")
    place, ends = starts[:-1].copy(), np.empty(len(cuts) - 1, np.int64)
    for start, block in _blocks(ids, block_entries):
        pairs = np.empty((block.size, 2), block.dtype)
        compiled(_group_pairs)(block, start, cuts, first_range, shift, pairs, ends)
        for number, (first, stop) in enumerate(pairwise([0, *ends.tolist()])):
            if stop > first:
                scratch.seek(int(place[number]) * pairs.itemsize * 2)
                scratch.write(pairs[first:stop].data)
                place[number] += stop - first


def _read(scratch: BinaryIO, start: int, n_pairs: int, dtype: np.dtype) -> IntArray:
    scratch.seek(start * dtype.itemsize * 2)
    pairs = np.frombuffer(scratch.read(n_pairs * dtype.itemsize * 2), dtype).reshape(-1, 2)
    assert len(pairs) == n_pairs, "every pair was written"
    return pairs


def _count_named(block: np.ndarray, start: int, counts: np.ndarray) -> None:
    for at in range(len(block)):
        for neighbour in block[at]:
            if neighbour >= 0 and neighbour != start + at:
                counts[neighbour] += 1


def _cut(named: np.ndarray, k: int, most: int, cuts: np.ndarray) -> int:
    """Fill in where ranges begin and, last, the number of rows; returns how many ranges."""
    n_ranges, held = 0, 0
    for row in range(len(named)):
        entries = named[row] + k
        if held > 0 and held + entries > most:
            n_ranges += 1
            cuts[n_ranges] = row
            held = 0
        held += entries
    cuts[n_ranges + 1] = len(named)
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
    """Sort (named row, row) of a block by range, stably; ``ends`` becomes where each range ends.

    The range of a row is looked up for rows of equal leading bits, and then sought upwards.
    """
    ends[:] = 0
    for turn in range(2):
        for at in range(len(block)):
            for named in block[at]:
                if named < 0 or named == start + at:
                    continue
                number = first_range[named >> shift]
                while cuts[number + 1] <= named:
                    number += 1
                if turn == 1:
                    pairs[ends[number], 0] = named
                    pairs[ends[number], 1] = start + at
                ends[number] += 1
        if turn == 0:
            before = 0
            for number in range(len(ends)):
                before, ends[number] = before + ends[number], before


def _merge(
    rows: np.ndarray,
    first: int,
    pairs: np.ndarray,
    named: np.ndarray,
    mutual: bool,
    merged: np.ndarray,
    degrees: np.ndarray,
) -> int:
    """Merge the ascending ``rows`` with those that name each; fills ``degrees``, returns their sum."""
    ends = np.empty(len(rows) + 1, np.int64)
    ends[0] = 0
    for at in range(len(rows)):
        ends[at + 1] = ends[at] + named[at]
    naming = np.empty(len(pairs), pairs.dtype)
    place = ends[:-1].copy()
    for pair in range(len(pairs)):
        at = pairs[pair, 0] - first
        naming[place[at]] = pairs[pair, 1]
        place[at] += 1
    n_merged, k = 0, rows.shape[1]
    for at in range(len(rows)):
        began, last = n_merged, -1
        mine, theirs, stop = 0, ends[at], ends[at + 1]
        while mine < k or theirs < stop:
            is_mine = theirs == stop or (mine < k and rows[at, mine] <= naming[theirs])
            is_theirs = mine == k or (theirs < stop and naming[theirs] <= rows[at, mine])
            node = rows[at, mine] if is_mine else naming[theirs]
            mine += is_mine
            theirs += is_theirs
            if node > last and node != first + at and ((is_mine and is_theirs) or not mutual):
                merged[n_merged] = node
                n_merged += 1
                last = node
        degrees[at] = n_merged - began
    return n_merged
