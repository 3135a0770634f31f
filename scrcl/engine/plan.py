"""What a run would take, stage by stage, from the header of the input alone.

With ``batch_key``, ``sample_key`` or ``spatial``, annotations or coordinates of the cells are read too.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scrcl.engine.budget import plan_budget
from scrcl.engine.check import check_input
from scrcl.engine.covariates import read_named
from scrcl.engine.device import resolve_device
from scrcl.engine.needs import stage_needs
from scrcl.engine.pipeline import STAGES, shape_of, stages_until
from scrcl.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scrcl.engine.config import RunConfig
    from scrcl.engine.shape import Shape

__all__ = ["Plan", "StagePlan", "plan_run"]

_CORE_RATES = {
    "stats": 63e6,  # values of X a second, from a sharded store
    "features": 41e6,
    "reduce": 90e6,  # values of chosen genes
}
"""What a core does in a second (bench.reduce); other machines differ, the ratios of stages less."""


_KRYLOV_PASSES = 12
"""What the randomised SVD takes in the middle (9 to 18 seen)."""


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
        What was given, and the smallest that would do.
    n_workers
        Blocks of X in flight; those of the smallest memory where what was given does not do.
    refusal
        Why it cannot be done; None where it can.
    """

    memory_bytes: int
    least_bytes: int
    n_workers: int
    device: str
    stages: list[StagePlan]
    refusal: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)


def plan_run(inputs: Sequence[Path], config: RunConfig, *, until: str | None = None) -> Plan:
    """Return what ``scrcl run`` with this configuration would take.

    Parameters
    ----------
    inputs
        As for `scrcl.io.open.open_input`; only their headers are read, and what ``batch_key``,
        ``sample_key`` and ``spatial`` name.
    until
        Last stage of the run; all of them where None.

    Raises
    ------
    ScrclError
        The run would be refused for another reason than its memory.
    """
    from scrcl.io.open import open_input

    matrix = open_input(inputs, layer=config.layer, join=config.join)
    check_input(matrix, config)
    shape = shape_of(matrix, config, n_batches=read_named(matrix, config).n_batches)
    needs = stage_needs(shape)
    names = [stage.name for stage in stages_until(STAGES, until)]
    least = max(needs[name].least_bytes for name in names)
    refusal = None
    try:
        budget = plan_budget(config.memory, shape, stages=names)
    except BudgetError as error:
        refusal = str(error)
        budget = plan_budget(least, shape, stages=names)
    n_bytes = sum(int(s["bytes"]) for s in matrix.identity.get("samples", [matrix.identity]))
    read, seconds = _bytes_read(shape, n_bytes), _seconds(shape, budget.n_workers)
    return Plan(
        memory_bytes=config.memory,
        least_bytes=least,
        n_workers=budget.n_workers,
        device=resolve_device(config.device),
        stages=[
            StagePlan(
                name,
                needs[name].peak_bytes(budget.n_workers),
                needs[name].disk_bytes,
                read[name],
                round(seconds[name], 1),
            )
            for name in names
        ],
        refusal=refusal,
    )


def _bytes_read(shape: Shape, input_bytes: int) -> dict[str, int]:
    """Return the bytes that each stage reads, by system calls or through memory maps."""
    copied = int(8 * shape.n_values) if shape.by_genes else input_bytes
    scores = 4 * shape.n_cells * shape.n_comps
    store = int(6 * shape.chosen_values)
    features = 4 * shape.n_cells * shape.n_features
    embedding = 8 * shape.n_cells * shape.dim
    return {
        "read": 2 * input_bytes if shape.by_genes else 0,
        "stats": copied,
        "features": copied,
        "reduce": store * _passes(shape),
        "graph": 4 * scores,
        "genes": 8 * shape.n_genes * shape.n_comps + 4 * shape.gram_bytes,
        "train": 4 * features,
        "embed": 2 * features,
        "cluster": 2 * embedding,
        "report": store + embedding,
    }


def _passes(shape: Shape) -> int:
    """Return how often the compact store is read for the components and the scores."""
    return 1 if shape.gram else 1 + _KRYLOV_PASSES


def _seconds(shape: Shape, n_workers: int) -> dict[str, float]:
    """Return the seconds that each stage takes on cores such as those of ``_CORE_RATES``."""
    cores = min(n_workers, os.cpu_count() or 1)
    n, rates = shape.n_cells, _CORE_RATES
    copying = shape.n_values / 2e6 if shape.by_genes else 0.0
    return {
        "read": 0.1 + 8e-7 * n + copying,
        "stats": 0.8 + shape.n_values / (rates["stats"] * cores),
        "features": 0.6 + shape.n_values / (rates["features"] * cores),
        "reduce": 0.1
        + (shape.n_genes**3 / 1e10 if shape.gram else 0)
        + _passes(shape) * shape.chosen_values / (rates["reduce"] * cores),
        # Comparisons grow faster than the cells; measured at 100,000 to 3 million.
        "graph": 2 + 1e-5 * n * (1 + (n / 1e6) ** 0.5),
        "genes": 0.1,
        "train": 20 + 1.7e-4 * n,
        "embed": 1 + 6e-6 * n,
        "cluster": 8 + 3.5e-5 * n,
        "report": 20 + 5e-6 * n,
    }
