"""What a running stage may touch. Only `scrcl.engine.run` and `scrcl.engine.predict` make one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scrcl.engine.outputs import Outputs
from scrcl.io.stream import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scrcl._interrupt import Interruption
    from scrcl._progress import Reporter
    from scrcl.engine.budget import Budget
    from scrcl.engine.config import RunConfig
    from scrcl.engine.covariates import Covariates
    from scrcl.engine.folder import RunFolder
    from scrcl.engine.stage import Stage
    from scrcl.io.matrix import CellMatrix
    from scrcl.train.ranks import Ranks

__all__ = ["Context", "Workers"]


@dataclass(frozen=True)
class Workers:
    """Who does the work, and who hears of it.

    Attributes
    ----------
    reporter
        Receives progress.
    ranks
        The processes that train together.
    interruption
        Asked before each stage and at each training step whether to stop.
    client
        A ``distributed.Client`` whose workers map the blocks of X; threads of this process where None.
    """

    reporter: Reporter
    ranks: Ranks
    interruption: Interruption
    client: Any = None


class Context(Outputs):
    """Settings, budget, input and finished stages, for the stage that runs.

    Parameters
    ----------
    open_matrix
        Opens the input. What cannot be streamed by rows is rewritten below the path given, once.
    covariates
        Coordinates, samples and batches of all cells of the input.
    """

    def __init__(
        self,
        folder: RunFolder,
        stages: Sequence[Stage[Any]],
        config: RunConfig,
        *,
        budget: Budget,
        covariates: Covariates,
        open_matrix: Callable[[Path], CellMatrix],
        workers: Workers,
    ) -> None:
        super().__init__(folder, stages)
        self.config, self.budget, self.covariates = config, budget, covariates
        self.open_matrix = open_matrix
        self.reporter, self.ranks = workers.reporter, workers.ranks
        self.interruption, self.client = workers.interruption, workers.client

    @cached_property
    def matrix(self) -> CellMatrix:
        """The input, for the stages after the first."""
        return self.open_matrix(self.folder.stage(self.stages[0].name))

    def count(
        self, name: str, total: int | None, unit: str = "cells", *, done: int = 0
    ) -> Callable[[int], None]:
        """Announce a countable piece of work, of which ``done`` units are done. Returns what to call as it advances."""
        self.reporter.stage_started(name, total, unit, done=done)
        return self.reporter.advance

    def reading(self, name: str) -> Reading:
        """Announce a read of all rows of the input. Returns who reads them."""
        return Reading(
            self.budget.n_workers, self.count(name, self.matrix.n_obs), client=self.client
        )
