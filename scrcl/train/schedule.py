"""How many steps a run takes at most, and the learning rate of each.

Both are functions of the settings and the number of cells alone, so that a resumed run, and every process
of a run on several devices, has the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrcl.train.config import TrainConfig

__all__ = ["Schedule", "schedule_of"]

FEWEST_STEPS = 100
"""Where clusters agree best with labels, whether a step sees all cells or 512 of them; on they fall apart."""
MOST_STEPS = 1000
"""Batches of 4,096 hold four million cells by then: enough to learn a few small matrices from."""


@dataclass(frozen=True)
class Schedule:
    """The steps of a run.

    Attributes
    ----------
    n_steps
        Steps in all, where nothing stops it before.
    lr
        Largest learning rate.
    warmup_steps
        Steps over which it rises.
    decay_steps
        Last steps, over which it falls; 0 where it stays.
    """

    n_steps: int
    lr: float
    warmup_steps: int = 0
    decay_steps: int = 0

    def lr_at(self, step: int) -> float:
        """Return the learning rate of the step after ``step`` finished ones."""
        risen = (step + 1) / (self.warmup_steps + 1)
        left = (self.n_steps - step) / (self.decay_steps + 1)
        return self.lr * min(1.0, risen, left)


def schedule_of(config: TrainConfig, n_cells: int) -> Schedule:
    """Return the steps that ``config`` asks for on so many cells.

    ``steps = "auto"`` is one epoch, but 100 steps at least and 1,000 at most.
    """
    if isinstance(config.steps, int):
        n_steps = config.steps
    else:
        n_batches = -(-n_cells // config.batch_cells)
        n_steps = min(max(n_batches, FEWEST_STEPS), MOST_STEPS)
    return Schedule(n_steps, config.lr, config.warmup_steps, config.decay_steps)
