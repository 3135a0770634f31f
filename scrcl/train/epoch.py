"""Which rows each batch of an epoch starts from.

An epoch visits every row once, in batches whose sizes differ by one at most, and is a function of
the seed and its number. Uniform batches hold rows from everywhere: their means are those of the
atlas but for chance, and nearly all of their neighbours are other rows, fetched beside them.
Rows are in the order of a partition, so pieces of consecutive rows are near cells, and batches that
join them have fewer others beside them, and means that stray further, by how many pieces are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scrcl._random import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.train.config import TrainConfig
    from scrcl.typing import IntArray

__all__ = ["Epochs", "PartitionEpochs", "UniformEpochs", "epochs_of"]


class Epochs(Protocol):
    """The seeds of every step, as rows."""

    n_batches: int
    """Batches in an epoch."""

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ascending, so that they are read in order."""


def epochs_of(config: TrainConfig, n_cells: int, *, seed: int) -> Epochs:
    """Return what ``config.batches`` asks for."""
    n_batches = -(-n_cells // config.batch_cells)
    if config.batches == "uniform":
        return UniformEpochs(n_cells, n_batches, seed=seed)
    return PartitionEpochs(n_cells, n_batches, config.piece_cells, seed=seed)


class UniformEpochs:
    """Random permutations of all rows, of which one is held: 8 bytes a cell."""

    def __init__(self, n_cells: int, n_batches: int, *, seed: int) -> None:
        self.n_batches = n_batches
        self._n_cells, self._seed = n_cells, seed
        self._shuffled: tuple[int, IntArray] = (-1, np.empty(0, np.int64))

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ascending."""
        if self.n_batches == 1:
            return np.arange(self._n_cells)
        epoch, place = divmod(step, self.n_batches)
        if self._shuffled[0] != epoch:
            order = stream(self._seed, "train.batch", epoch).permutation(self._n_cells)
            self._shuffled = epoch, order
        first, last = _cut(self._n_cells, self.n_batches, place)
        return np.sort(self._shuffled[1][first:last])


class PartitionEpochs:
    """Runs of consecutive rows, shuffled and joined; memory is that of the pieces' numbers.

    Parameters
    ----------
    n_cells
        Number of rows, near cells near each other.
    n_batches
        Batches in an epoch.
    piece_cells
        Most rows of a piece, cut from the rows as from a ring, each epoch from another row on.
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
        epoch, place = divmod(step, self.n_batches)
        shift, pieces, ends = self._pieces(epoch)
        wanted = np.arange(*_cut(n_cells, self.n_batches, place))
        joined = np.searchsorted(ends, wanted, side="right")
        last_of_piece = _cut(n_cells, self._n_pieces, pieces[joined])[1]
        rows: NDArray[np.int64] = (last_of_piece - (ends[joined] - wanted) + shift) % n_cells
        return np.sort(rows)

    def _pieces(self, epoch: int) -> tuple[int, IntArray, IntArray]:
        """Return where the ring is cut, the pieces as they follow, and how many rows end with each."""
        if self._mixed is None or self._mixed[0] != epoch:
            rng = stream(self._seed, "train.pieces", epoch)
            shift = int(rng.integers(self._n_cells))
            pieces = rng.permutation(self._n_pieces)
            first, last = _cut(self._n_cells, self._n_pieces, pieces)
            self._mixed = epoch, shift, pieces, np.cumsum(last - first)
        return self._mixed[1:]


def _cut(total: int, n_parts: int, part: Any) -> tuple[Any, Any]:
    """Return first and last (exclusive) of part(s) out of ``n_parts``, of sizes that differ by one."""
    return total * part // n_parts, total * (part + 1) // n_parts
