"""Everything that training changes, and so everything that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scrcl.train.method import Learner
from scrcl.train.stop import StabilityChecks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from scrcl.train.method import Method
    from scrcl.train.optimizer import Optimizer
    from scrcl.train.setup import Phase, Setup

__all__ = ["TrainState"]

LearnerT = TypeVar("LearnerT", bound=Learner)


@dataclass
class TrainState(Generic[LearnerT]):
    """The learner and the progress of its training.

    Attributes
    ----------
    learner, optimizer
        Changed in place by `scrcl.train.loop.train`.
    phases
        The phases of training; not part of a checkpoint.
    seed
        The run's seed; what is random in step n depends on (seed, n).
    step
        Finished steps.
    phase, phase_start
        Number of the current phase, and the steps that were finished when it began.
    history
        One dict for each finished step: its number, the weighted loss terms and the gradient's norm.
    minibatch_cells
        Largest number of seed cells in a mini-batch: that of the settings, or less if the device ran
        out of memory.
    halvings
        For each time that mini-batches were halved, the step after which, and their size since.
    checks
        Stability checks of the current phase.
    """

    learner: LearnerT
    optimizer: Optimizer
    phases: Sequence[Phase]
    seed: int
    step: int = 0
    phase: int = 0
    phase_start: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    minibatch_cells: int = 0
    halvings: list[dict[str, int]] = field(default_factory=list)
    checks: StabilityChecks = field(default_factory=StabilityChecks)

    @classmethod
    def fresh(
        cls, method: Method[Any, Any, Any, LearnerT], inputs: Any, setup: Setup[Any]
    ) -> TrainState[LearnerT]:
        """Return the state before the first step; initial weights depend only on the seed."""
        phases = method.phases(setup, inputs)
        learner = method.start(inputs, setup)
        return cls(
            learner,
            phases[0].optimizer(learner.parameters()),
            phases,
            setup.seed,
            minibatch_cells=min(setup.train.minibatch_cells, inputs.n_cells),
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.learner.device

    @property
    def current(self) -> Phase:
        """The current phase."""
        return self.phases[self.phase]

    @property
    def step_in_phase(self) -> int:
        """Finished steps of the current phase."""
        return self.step - self.phase_start

    @property
    def most_steps(self) -> int:
        """Largest number of steps of all phases."""
        return sum(phase.schedule.n_steps for phase in self.phases)

    @property
    def phase_is_over(self) -> bool:
        """Whether the current phase has ended."""
        return self.step_in_phase >= self.current.schedule.n_steps or self.checks.is_over

    @property
    def is_over(self) -> bool:
        """Whether the last phase has ended."""
        return self.phase_is_over and self.phase == len(self.phases) - 1

    def begin_next_phase(self) -> None:
        """Start the next phase, with a new optimizer and no stability checks."""
        self._enter(self.phase + 1, self.step)
        self.checks = StabilityChecks()

    def snapshot(self) -> dict[str, Any]:
        """Return everything as plain values and tensors (not copies)."""
        return {
            "step": self.step,
            "phase": self.phase,
            "phase_start": self.phase_start,
            "seed": self.seed,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "minibatch_cells": self.minibatch_cells,
            "halvings": self.halvings,
            "checks": self.checks.state_dict(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Set what `snapshot` returned."""
        self.learner.load_state_dict(snapshot["learner"])
        self._enter(snapshot["phase"], snapshot["phase_start"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.step, self.seed = snapshot["step"], snapshot["seed"]
        self.history = list(snapshot["history"])
        self.minibatch_cells = snapshot["minibatch_cells"]
        self.halvings = list(snapshot["halvings"])
        self.checks.load_state_dict(snapshot["checks"])

    def _enter(self, phase: int, first_step: int) -> None:
        self.phase, self.phase_start = phase, first_step
        self.optimizer = self.current.optimizer(self.learner.parameters())
