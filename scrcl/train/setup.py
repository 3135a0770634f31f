"""What the trainer gives a method: setup, phases, the step being computed, and how to go through all cells."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scrcl._random import derive_seed
from scrcl._settings import Settings
from scrcl.train.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch
    from torch import nn

    from scrcl.train.optimizer import Optimizer
    from scrcl.train.schedule import Schedule
    from scrcl.train.settings import TrainSettings
    from scrcl.train.stop import StoppingRule
    from scrcl.typing import OnRows

__all__ = ["Phase", "Setup", "Step", "Work"]

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class Setup(Generic[SettingsT]):
    """What a method is started with.

    Attributes
    ----------
    settings
        The method's own.
    train
        Settings of training that all methods share.
    seed
        Seed of the run.
    device
        Device of weights and mini-batches.
    ranks
        Processes that train together.
    """

    settings: SettingsT
    train: TrainSettings
    seed: int = 0
    device: str | torch.device = "cpu"
    ranks: Ranks = field(default_factory=Ranks.alone)

    def with_train(self, **changes: Any) -> Setup[SettingsT]:
        """Return the same setup with other settings of training."""
        return replace(self, train=self.train.model_copy(update=changes))

    def for_subset(self) -> Setup[SettingsT]:
        """Return the setup whose first mini-batch is the subset of the stability checks.

        The first mini-batch of a uniform epoch is a uniform subset. All ranks use the same one, so
        the setup is that of a single process.
        """
        of_subset = self.with_train(
            minibatch_cells=self.train.stop_cells, minibatches="uniform", fanout=None
        )
        return replace(of_subset, seed=derive_seed(self.seed, "train.stop"), ranks=Ranks.alone())


@dataclass(frozen=True)
class Phase:
    """A part of training with its own steps, optimizer and stopping rule.

    Attributes
    ----------
    name
        For the method: which loss a step computes may depend on it.
    schedule
        Number of steps and the learning rate of each.
    optimizer
        Makes the optimizer of some parameters.
    stop
        Ends the phase early; None: it runs to its last step.
    refresh_every
        Steps between calls of `Method.refresh`, the first before the phase's first step; 0: none.
    """

    name: str
    schedule: Schedule
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    stop: StoppingRule | None = None
    refresh_every: int = 0


@dataclass(frozen=True)
class Step:
    """The step being computed.

    Attributes
    ----------
    number
        Steps finished before it, in the whole run.
    phase
        Its phase.
    number_in_phase
        Steps finished before it in this phase.
    generator
        Draws all that is random in the step, on the learner's device. It depends only on the seed,
        the step and the rank, so checkpoints hold no generator.
    ranks
        Processes that train together.
    """

    number: int
    phase: Phase
    number_in_phase: int
    generator: torch.Generator
    ranks: Ranks


@dataclass(frozen=True)
class Work:
    """How to go through all cells.

    Attributes
    ----------
    block_rows
        Cells in a block. It depends only on the data.
    n_workers
        Number of threads that may each hold a block.
    device
        Device for blocks.
    on_rows
        Called with the number of finished cells.
    seed
        Seed of the run.
    """

    block_rows: int = 65_536
    n_workers: int = 1
    device: str | torch.device = "cpu"
    on_rows: OnRows | None = None
    seed: int = 0
