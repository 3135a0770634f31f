"""The largest number of steps, and the learning rate of each step.

Both depend only on the settings and the number of cells. So a resumed run, and every rank of a run on
several devices, has the same schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrcl.train.settings import TrainSettings

__all__ = ["Schedule", "schedule_of"]

_FEWEST_STEPS = 100
"""Clusters agree best with labels here, whether a step uses all cells or 512. Later they fall apart."""
_MOST_STEPS = 1000
"""Mini-batches of 4,096 cells have covered four million cells by then: enough for a few small matrices."""


@dataclass(frozen=True)
class Schedule:
    """The steps of a phase of training.

    Attributes
    ----------
    n_steps
        Number of steps, if nothing stops training earlier.
    lr
        Largest learning rate.
    warmup_steps
        Steps over which it rises.
    decay_steps
        Last steps, over which it falls; 0: it stays.
    """

    n_steps: int
    lr: float
    warmup_steps: int = 0
    decay_steps: int = 0

    def lr_at(self, step: int) -> float:
        """Return the learning rate of the step that follows ``step`` finished ones."""
        risen = (step + 1) / (self.warmup_steps + 1)
        left = (self.n_steps - step) / (self.decay_steps + 1)
        return self.lr * min(1.0, risen, left)


def schedule_of(train: TrainSettings, n_cells: int) -> Schedule:
    """Return the steps that the settings mean for ``n_cells``.

    ``steps = "auto"`` is one epoch, but at least 100 steps and at most 1,000, unless ``epochs`` are given.
    """
    n_batches = -(-n_cells // train.minibatch_cells)
    if isinstance(train.steps, int):
        n_steps = train.steps
    elif train.epochs is not None:
        n_steps = train.epochs * n_batches
    else:
        n_steps = min(max(n_batches, _FEWEST_STEPS), _MOST_STEPS)
    return Schedule(n_steps, train.lr, train.warmup_steps, train.decay_steps)
