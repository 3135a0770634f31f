"""Mini-batches on the device, numbered by step.

Mini-batch n depends on the seed, on n and on the size of mini-batches, and never on earlier ones. So a
run resumes at any step, and ranks agree on the seed cells of every step without exchanging them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import torch

from scrcl.errors import InputError
from scrcl.train.epoch import epochs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from scrcl.train.setup import Setup

__all__ = ["Inputs", "MinibatchSource"]


class Inputs(Protocol):
    """What a method trains on. The trainer only needs to know how many cells there are."""

    @property
    def n_cells(self) -> int:
        """Number of cells."""


InputsT = TypeVar("InputsT", bound=Inputs)
BatchT = TypeVar("BatchT")


class MinibatchSource(ABC, Generic[InputsT, BatchT]):
    """All mini-batches of a run. A method defines `batch`.

    Parameters
    ----------
    inputs
        What is trained on.
    setup
        ``minibatch_cells``, ``minibatches`` and ``piece_cells`` decide the seed cells.

    Raises
    ------
    InputError
        There are more ranks than cells to share.
    """

    def __init__(self, inputs: InputsT, setup: Setup[Any]) -> None:
        self.inputs, self.setup = inputs, setup
        self.device, self.ranks = torch.device(setup.device), setup.ranks
        self._epochs = epochs_of(setup.train, inputs.n_cells, seed=setup.seed)
        fewest = self.fewest_shared()
        if self.ranks.size > fewest:
            message = (
                f"the number of ranks must be at most {fewest}, the cells of a mini-batch that they "
                f"share; got {self.ranks.size}. Start fewer processes, or raise train.minibatch_cells."
            )
            raise InputError(message)

    @abstractmethod
    def batch(self, step: int) -> BatchT:
        """Return this rank's part of the mini-batch of one step."""

    @property
    def n_cells(self) -> int:
        """Number of cells in all."""
        return self.inputs.n_cells

    @property
    def n_batches(self) -> int:
        """Number of mini-batches in an epoch."""
        return self._epochs.n_batches

    @property
    def minibatch_cells(self) -> int:
        """Largest number of seed cells in a mini-batch."""
        return min(self.setup.train.minibatch_cells, self.n_cells)

    @property
    def is_constant(self) -> bool:
        """Whether all steps have the same mini-batch, which is then built once."""
        return False

    def fewest_shared(self) -> int:
        """Return the smallest number of cells that ranks share in a step."""
        return self.n_cells // self.n_batches

    def seeds(self, step: int) -> NDArray[np.int64]:
        """Return the seed cells of a step, of all ranks: rows of the inputs, ascending."""
        return self._epochs.seeds(step)

    def own_seeds(self, step: int) -> NDArray[np.int64]:
        """Return this rank's part of the seed cells."""
        seeds = self.seeds(step)
        first, last = self.ranks.cut(len(seeds))
        return seeds[first:last]

    def with_minibatches_of(self, minibatch_cells: int) -> Self:
        """Return the source of mini-batches of another size."""
        return type(self)(self.inputs, self.setup.with_train(minibatch_cells=minibatch_cells))

    def starting_at(self, step: int) -> Iterator[BatchT]:
        """Yield the mini-batches of ``step`` and all later steps, without end."""
        if self.is_constant:
            whole = self.batch(step)
            while True:
                yield whole
        # One mini-batch is built while the device works on another: reading then costs no time.
        with ThreadPoolExecutor(1, "scrcl-batch") as ahead:
            coming = ahead.submit(self.batch, step)
            while True:
                ready = coming.result()
                step += 1
                coming = ahead.submit(self.batch, step)
                yield ready
