"""The seed cells of each mini-batch of an epoch, as rows.

An epoch visits every row once, in mini-batches whose sizes differ by at most one. It depends only
on the seed and its number. Uniform mini-batches hold rows from everywhere: except for chance their means are
those of all cells, and nearly all of their neighbours are rows outside of the mini-batch.

Rows are in the order of a partition, so consecutive rows are similar cells. Mini-batches that join pieces
of consecutive rows have fewer neighbours outside. In return their means differ more from those of all
cells, the more so the fewer pieces are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scrcl._random import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.train.settings import TrainSettings
    from scrcl.typing import IntArray

__all__ = ["epochs_of"]


class Epochs(Protocol):
    """The seed cells of every step, as rows."""

    n_batches: int
    """Number of mini-batches in an epoch."""

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ascending, because ordered reads are faster."""


def epochs_of(train: TrainSettings, n_cells: int, *, seed: int) -> Epochs:
    """Return the epochs that ``train.minibatches`` names."""
    n_batches = -(-n_cells // train.minibatch_cells)
    if train.minibatches == "uniform":
        return UniformEpochs(n_cells, n_batches, seed=seed)
    return PartitionEpochs(n_cells, n_batches, train.piece_cells, seed=seed)


class UniformEpochs:
    """Random permutations of all rows. One is kept in memory: 8 bytes for each cell."""

    def __init__(self, n_cells: int, n_batches: int, *, seed: int) -> None:
        self.n_batches = n_batches
        self._n_cells, self._seed = n_cells, seed
        self._shuffled: tuple[int, IntArray] = (-1, np.empty(0, np.int64))

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ascending."""
        if self.n_batches == 1:
            return np.arange(self._n_cells)
        epoch, number = divmod(step, self.n_batches)
        if self._shuffled[0] != epoch:
            order = stream(self._seed, "train.batch", epoch).permutation(self._n_cells)
            self._shuffled = epoch, order
        first, last = _cut(self._n_cells, self.n_batches, number)
        return np.sort(self._shuffled[1][first:last])


class PartitionEpochs:
    """Pieces of consecutive rows, shuffled and joined. Memory grows with the number of pieces.

    Parameters
    ----------
    n_cells
        Number of rows, in an order that keeps similar cells together.
    n_batches
        Number of mini-batches in an epoch.
    piece_cells
        Largest number of rows in a piece. Rows form a ring, which each epoch cuts at another row.
    seed
        Root of the random streams.
    """

    def __init__(self, n_cells: int, n_batches: int, piece_cells: int, *, seed: int) -> None:
        self.n_batches = n_batches
        self._n_cells, self._seed = n_cells, seed
        self._n_pieces = -(-n_cells // piece_cells)
        self._mixed: tuple[int, int, IntArray, IntArray] | None = None

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ascending."""
        n_cells = self._n_cells
        if self.n_batches == 1:
            return np.arange(n_cells)
        epoch, number = divmod(step, self.n_batches)
        shift, pieces, ends = self._pieces(epoch)
        wanted = np.arange(*_cut(n_cells, self.n_batches, number))
        # Only the pieces that overlap the mini-batch are cut: the others cost nothing.
        joined = np.searchsorted(ends, wanted, side="right")
        last_of_piece = _cut(n_cells, self._n_pieces, pieces[joined])[1]
        rows: NDArray[np.int64] = (last_of_piece - (ends[joined] - wanted) + shift) % n_cells
        return np.sort(rows)

    def _pieces(self, epoch: int) -> tuple[int, IntArray, IntArray]:
        """Return where the ring is cut, the order of the pieces, and the cumulative number of rows."""
        if self._mixed is None or self._mixed[0] != epoch:
            rng = stream(self._seed, "train.pieces", epoch)
            shift = int(rng.integers(self._n_cells))
            pieces = rng.permutation(self._n_pieces)
            first, last = _cut(self._n_cells, self._n_pieces, pieces)
            self._mixed = epoch, shift, pieces, np.cumsum(last - first)
        return self._mixed[1:]


def _cut(total: int, n_parts: int, part: Any) -> tuple[Any, Any]:
    """Return first and last (exclusive) of part(s) out of ``n_parts``, whose sizes differ by at most one."""
    return total * part // n_parts, total * (part + 1) // n_parts
