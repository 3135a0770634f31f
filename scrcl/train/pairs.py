"""The pairs of a mini-batch, cut into blocks of anchors, each sorted by seed and by anchor.

All sorts are counting sorts: count, sum up the counts to offsets, then place each pair at the next free
position of its group. They visit each pair twice, keep the order within a group, and need no comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled
from scrcl.train.sparse import Block, Pattern, to_device

if TYPE_CHECKING:
    import torch

    from scrcl.typing import IntArray

__all__ = ["pattern_of"]

CPU_BLOCK_ROWS = 8_192
"""Anchors of a block on the CPU: a few matrices with that many rows stay in the shared cache."""
_DEVICE_BLOCK_ROWS = 65_536
"""Anchors of a block on a GPU, where each block costs a few launches whatever its size."""


def pattern_of(
    indptr: IntArray,
    indices: IntArray,
    *,
    n_columns: int,
    device: torch.device,
    block_rows: int | None = None,
) -> Pattern:
    """Return the CSR pattern ``indptr``, ``indices`` on ``device``, cut by ``block_rows`` columns."""
    n_rows, n_pairs = len(indptr) - 1, len(indices)
    assert n_pairs < np.iinfo(np.int32).max, "a mini-batch holds fewer than 2^31 pairs"
    if block_rows is None:
        block_rows = CPU_BLOCK_ROWS if device.type == "cpu" else _DEVICE_BLOCK_ROWS
    cuts = np.append(np.arange(0, n_columns, block_rows), n_columns)
    starts = np.zeros(len(cuts), np.int64)
    offsets = np.zeros((len(cuts) - 1, n_rows + 1), np.int32)
    columns, position = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int64)
    compiled(_cut)(indptr, indices, block_rows, starts, offsets, columns, position)
    rows, order = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int64)

    def block(at: int) -> Block:
        start, stop, here = int(cuts[at]), int(cuts[at + 1]), slice(*starts[at : at + 2])
        ends = np.zeros(stop - start + 1, np.int32)
        compiled(_transpose)(offsets[at], columns[here], ends, rows[here], order[here])
        arrays = (offsets[at], columns[here], ends, rows[here], order[here])
        return Block(start, stop, *(to_device(array, device) for array in arrays))

    return Pattern(
        offsets_r=to_device(np.asarray(indptr, np.int32), device),
        columns_p=to_device(np.asarray(indices, np.int32), device),
        blocks=tuple(block(at) for at in range(len(cuts) - 1)),
        position_p=to_device(position, device),
        shape=(n_rows, n_columns),
    )


def _cut(
    indptr: np.ndarray,
    indices: np.ndarray,
    block_rows: int,
    starts: np.ndarray,
    offsets: np.ndarray,
    columns: np.ndarray,
    position: np.ndarray,
) -> None:
    """Sort the pairs of a CSR pattern by block of columns, keeping their order within a block.

    Parameters
    ----------
    starts
        Filled with the first pair of each block, shape (n_blocks + 1,).
    offsets
        Zeros; filled with the CSR offsets of each block, shape (n_blocks, n_rows + 1).
    columns
        Filled with the column of each pair, counted from the first of its block.
    position
        Filled with the position of each pair in the original order.
    """
    n_blocks, n_rows = offsets.shape[0], offsets.shape[1] - 1
    # Count. Counts of row r go to slot r + 1, so that summing them up gives offsets in place.
    for row in range(n_rows):
        for pair in range(indptr[row], indptr[row + 1]):
            offsets[indices[pair] // block_rows, row + 1] += 1
    for block in range(n_blocks):
        for row in range(n_rows):
            offsets[block, row + 1] += offsets[block, row]
        starts[block + 1] = starts[block] + offsets[block, n_rows]
    # Place. Rows are visited in order, so within a block the next free position already belongs to this row:
    # one counter for each block is enough.
    following = starts[:-1].copy()
    for row in range(n_rows):
        for pair in range(indptr[row], indptr[row + 1]):
            block = indices[pair] // block_rows
            to = following[block]
            following[block] += 1
            columns[to] = indices[pair] - block * block_rows
            position[to] = pair


def _transpose(
    offsets: np.ndarray, columns: np.ndarray, ends: np.ndarray, rows: np.ndarray, order: np.ndarray
) -> None:
    """Sort the pairs of a CSR pattern by column, keeping the order of rows: CSR of the transpose.

    Parameters
    ----------
    ends
        Zeros; filled with the transpose's offsets, shape (n_columns + 1,).
    rows, order
        Filled with the row of each pair of the transpose, and its position in the original order.
    """
    for column in columns:
        ends[column + 1] += 1
    for column in range(1, len(ends)):
        ends[column] += ends[column - 1]
    # A copy, because ``ends`` must keep the offsets while these counters move on.
    following = ends[:-1].copy()
    for row in range(len(offsets) - 1):
        for pair in range(offsets[row], offsets[row + 1]):
            to = following[columns[pair]]
            following[columns[pair]] += 1
            rows[to] = row
            order[to] = pair
