"""How many workers the given memory allows. A run that cannot fit is refused before any work.

Memory and cores decide how many blocks are loaded at once, or that the run is refused. They never change a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrcl._sizes import enough_bytes
from scrcl.engine.memory import block_rows, dense_block_rows
from scrcl.errors import BudgetError
from scrcl.io.arrays import cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.stage import Stage

__all__ = ["Budget", "least_memory", "plan_budget"]


@dataclass(frozen=True)
class Budget:
    """How the work is divided into blocks.

    Attributes
    ----------
    total_bytes
        Memory that was given.
    block_rows, dense_block_rows
        Rows of a block of X, and of an embedding.
    n_workers
        Blocks that are loaded at once.
    """

    total_bytes: int
    block_rows: int
    dense_block_rows: int
    n_workers: int

    @property
    def n_threads(self) -> int:
        """Threads that compute: as many as there are cores, and memory for."""
        return min(cores(), self.n_workers)


def least_memory(stages: Sequence[Stage[Any]], shape: Shape, config: RunConfig) -> int:
    """Return the smallest memory that is enough for all ``stages``, rounded up to tens of megabytes."""
    return enough_bytes(max(stage.estimate(shape, config).least_bytes for stage in stages))


def plan_budget(
    total_bytes: int,
    stages: Sequence[Stage[Any]],
    shape: Shape,
    config: RunConfig,
    *,
    n_workers: int | None = None,
) -> Budget:
    """Fit ``stages`` into ``total_bytes``, with at most ``n_workers``.

    The default is one worker more than the process may use cores, and at most 8: while one block is read, others are
    computed.

    Raises
    ------
    BudgetError
        A stage does not fit. The message names it, and what is enough for all.
    """
    estimates = [stage.estimate(shape, config) for stage in stages]
    needed = [estimate.least_bytes for estimate in estimates]
    largest = needed.index(max(needed))
    if total_bytes < needed[largest]:
        # Stages before the first that does not fit can still run.
        first = next(i for i, least in enumerate(needed) if least > total_bytes)
        raise BudgetError(
            _refusal(total_bytes, needed[largest], stages, largest, first, shape, config)
        )
    fitting = [
        (total_bytes - estimate.fixed_bytes) // max(estimate.block_bytes, 1)
        for estimate in estimates
        if estimate.shared
    ]
    return Budget(
        total_bytes=total_bytes,
        block_rows=block_rows(shape),
        dense_block_rows=dense_block_rows(shape, config),
        n_workers=min([n_workers or min(cores() + 1, 8), *fitting]),
    )


def _refusal(
    total_bytes: int,
    needed: int,
    stages: Sequence[Stage[Any]],
    largest: int,
    first: int,
    shape: Shape,
    config: RunConfig,
) -> str:
    stage = stages[largest]
    enough = enough_bytes(needed) // 10**6
    options = [f'use `memory="{enough}MB"`', *filter(None, [stage.advice(config)])]
    if first > 0 and not stages[first - 1].is_cheap:
        options.append(f"on the command line, stop earlier with --until {stages[first - 1].name}")
    advice = ", or ".join(options)
    return (
        f"memory must be at least {enough} MB for {shape.n_cells:,} cells in the stage "
        f"{stage.name}; got {total_bytes // 10**6} MB. {advice[0].upper()}{advice[1:]}."
    )
