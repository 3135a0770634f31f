"""What a run would take, stage by stage, from the header of the input.

With ``batch_key``, ``sample_key`` or ``spatial``, annotations or coordinates of the cells are read too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scrcl.engine.budget import least_memory, plan_budget
from scrcl.engine.covariates import read_covariates
from scrcl.engine.device import resolve_device
from scrcl.engine.found_batches import with_found
from scrcl.engine.paths import open_files
from scrcl.engine.run import stages_until
from scrcl.engine.shape import shape_of
from scrcl.engine.stages import STAGES
from scrcl.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scrcl.engine.config import RunConfig
    from scrcl.engine.stage import Stage

__all__ = ["Plan", "StagePlan", "plan_run"]


@dataclass(frozen=True)
class StagePlan:
    """What one stage is expected to take."""

    name: str
    peak_bytes: int
    disk_bytes: int
    read_bytes: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run is expected to take.

    Attributes
    ----------
    memory_bytes, least_bytes
        Memory that was given, and the smallest that is enough.
    n_workers
        Blocks of X loaded at once; with the smallest memory where the given one is not enough.
    device
        Where training runs.
    stages
        One row for each stage.
    refusal
        Why it cannot be done; None where it can.
    notes
        What the user should know before the work begins.
    """

    memory_bytes: int
    least_bytes: int
    n_workers: int
    device: str
    stages: list[StagePlan]
    refusal: str | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)


def plan_run(
    inputs: Sequence[Path],
    config: RunConfig,
    *,
    until: str | None = None,
    stages: Sequence[Stage[Any]] = STAGES,
) -> Plan:
    """Return what ``scrcl run`` with this configuration would take.

    Parameters
    ----------
    inputs
        As for `scrcl.io.open.open_input`. Only headers are read, and what ``batch_key``, ``sample_key`` and
        ``spatial`` name.
    until
        Last stage of the run; all of them where None.
    stages
        Stages of the run.

    Raises
    ------
    ScrclError
        The run would be refused for another reason than its memory.
    """
    matrix = open_files(inputs, config)
    config, notes = with_found(config, matrix)
    wanted = stages_until(stages, until)
    for stage in wanted:
        stage.check(matrix, config)
    covariates = read_covariates(matrix, config, notes=notes)
    shape = shape_of(matrix, config, n_batches=covariates.n_batches)
    least, refusal = least_memory(wanted, shape, config), None
    try:
        budget = plan_budget(config.memory, wanted, shape, config)
    except BudgetError as error:
        refusal = str(error)
        budget = plan_budget(least, wanted, shape, config)
    rows = []
    for stage in wanted:
        estimate = stage.estimate(shape, config)
        rows.append(
            StagePlan(
                stage.name,
                estimate.peak_bytes(budget.n_workers),
                estimate.disk_bytes,
                estimate.read_bytes,
                round(estimate.all_seconds(budget.n_threads), 1),
            )
        )
    return Plan(
        memory_bytes=config.memory,
        least_bytes=least,
        n_workers=budget.n_workers,
        device=resolve_device(config.device),
        stages=rows,
        refusal=refusal,
        notes=covariates.notes,
    )
