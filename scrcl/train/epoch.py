"""Which cells each batch of an epoch starts from.

An epoch visits every cell once, in batches whose sizes differ by one at most, and is a function of
the seed and its number. Uniform batches hold cells from everywhere: their means are those of the
atlas but for chance, and nearly all of their neighbours are other cells, fetched beside them.
Batches from a partition join pieces of near cells: fewer others, and means that stray further, by
how many pieces a batch joins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scrcl._random import stream
from scrcl.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.train.config import TrainConfig
    from scrcl.typing import IntArray

__all__ = ["Epochs", "PartitionEpochs", "UniformEpochs", "epochs_of"]


class Epochs(Protocol):
    """The seed cells of every step."""

    n_batches: int
    """Batches in an epoch."""

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the cells of a step, ascending, so that rows are read in order."""


def epochs_of(config: TrainConfig, n_cells: int, order: IntArray | None, *, seed: int) -> Epochs:
    """Return what ``config.batches`` asks for.

    Raises
    ------
    InputError
        When it is "partitions" and there is no order.
    """
    n_batches = -(-n_cells // config.batch_cells)
    if config.batches == "uniform":
        return UniformEpochs(n_cells, n_batches, seed=seed)
    if order is None:
        msg = (
            "train.batches = partitions must have an order of the cells by lists of near ones; got "
            "none. Give Inputs the order of a partition, or choose uniform."
        )
        raise InputError(msg)
    return PartitionEpochs(order, n_batches, config.piece_cells, seed=seed)


class UniformEpochs:
    """Random permutations of all cells, of which one is held: 8 bytes a cell."""

    def __init__(self, n_cells: int, n_batches: int, *, seed: int) -> None:
        self.n_batches = n_batches
        self._n_cells, self._seed = n_cells, seed
        self._shuffled: tuple[int, IntArray] = (-1, np.empty(0, np.int64))

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the cells of a step, ascending."""
        if self.n_batches == 1:
            return np.arange(self._n_cells)
        epoch, place = divmod(step, self.n_batches)
        if self._shuffled[0] != epoch:
            order = stream(self._seed, "train.batch", epoch).permutation(self._n_cells)
            self._shuffled = epoch, order
        first, last = _cut(self._n_cells, self.n_batches, place)
        return np.sort(self._shuffled[1][first:last])


class PartitionEpochs:
    """Pieces of an order, shuffled and joined; memory is that of the pieces' numbers.

    Parameters
    ----------
    order
        ndarray or memory map of int, shape (n_cells,): every cell once, near cells near each other.
        Only a batch's part is read.
    n_batches
        Batches in an epoch.
    piece_cells
        Most cells of a piece, cut from the order as from a ring, each epoch from another cell on.
    seed
        Root of the random streams.

    Raises
    ------
    InputError
        When ``order`` does not hold every cell once.
    """

    def __init__(self, order: IntArray, n_batches: int, piece_cells: int, *, seed: int) -> None:
        self.n_batches = n_batches
        self._order, self._seed = order, seed
        self._n_pieces = -(-len(order) // piece_cells)
        self._mixed: tuple[int, int, IntArray, IntArray] | None = None
        _check_order(order)

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the cells of a step, ascending."""
        n_cells = len(self._order)
        if self.n_batches == 1:
            return np.arange(n_cells)
        epoch, place = divmod(step, self.n_batches)
        shift, pieces, ends = self._pieces(epoch)
        wanted = np.arange(*_cut(n_cells, self.n_batches, place))
        joined = np.searchsorted(ends, wanted, side="right")
        last_of_piece = _cut(n_cells, self._n_pieces, pieces[joined])[1]
        at = (last_of_piece - (ends[joined] - wanted) + shift) % n_cells
        return np.sort(np.asarray(self._order[np.sort(at)], np.int64))

    def _pieces(self, epoch: int) -> tuple[int, IntArray, IntArray]:
        """Return where the ring is cut, the pieces as they follow, and how many cells end with each."""
        if self._mixed is None or self._mixed[0] != epoch:
            rng = stream(self._seed, "train.pieces", epoch)
            shift = int(rng.integers(len(self._order)))
            pieces = rng.permutation(self._n_pieces)
            first, last = _cut(len(self._order), self._n_pieces, pieces)
            self._mixed = epoch, shift, pieces, np.cumsum(last - first)
        return self._mixed[1:]


def _cut(total: int, n_parts: int, part: Any) -> tuple[Any, Any]:
    """Return first and last (exclusive) of part(s) out of ``n_parts``, of sizes that differ by one."""
    return total * part // n_parts, total * (part + 1) // n_parts


def _check_order(order: IntArray) -> None:
    """Raise InputError where a cell is missing; a byte a cell, for a moment."""
    seen = np.zeros(len(order), np.bool_)
    if order.size and 0 <= order.min() <= order.max() < len(order):
        seen[order] = True
    if not seen.all():
        msg = (
            f"order must hold each of its {len(order)} cells once; got one that leaves out cell "
            f"{int(np.argmin(seen))}. Build the partition again."
        )
        raise InputError(msg)
