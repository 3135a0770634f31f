"""A subset of the cells in which every batch is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["cells_of_every_batch"]


def cells_of_every_batch(
    codes: IntArray, n_most: int, order: IntArray | None = None
) -> NDArray[np.int64]:
    """Return at most ``n_most`` cells, ascending: all of small batches, and equal numbers of the others.

    The cells of a large batch are taken at equal steps along ``order``. So if near cells follow each other there, each
    region gives its share of them, and no random number is needed.

    Parameters
    ----------
    codes
        ndarray of int, shape (n_cells,): batch of each cell.
    n_most
        Where there are more batches than this, each still gives one cell.
    order
        ndarray of int, shape (n_cells,): the cells as a partition orders them; their own order where None.
    """
    if len(codes) <= n_most:
        return np.arange(len(codes))
    order = np.arange(len(codes)) if order is None else np.asarray(order)
    by_batch = order[np.argsort(codes[order], kind="stable")]
    sizes = np.bincount(codes)
    ends = np.cumsum(sizes)
    most = _largest_share(sizes, n_most)
    taken = []
    for end, size in zip(ends, sizes, strict=True):
        n_taken = min(size, most)
        steps = (np.arange(n_taken) * size) // max(n_taken, 1)
        taken.append(by_batch[end - size + steps])
    return np.sort(np.concatenate(taken))


def _largest_share(sizes: IntArray, n_most: int) -> int:
    """Return the largest number that every batch may give, such that all together give at most ``n_most``."""
    ascending = np.sort(sizes[sizes > 0])
    left = n_most
    for done, size in enumerate(ascending):
        share = left // (len(ascending) - done)
        if size > share:
            return max(int(share), 1)
        left -= int(size)
    return int(ascending[-1])
