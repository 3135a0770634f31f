"""From the memory given to workers, or to a refusal before anything is done.

Memory and cores decide how many blocks are in flight at once, or that the work is refused, and never what comes out.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrcl.engine.needs import FEATURES_BYTES_PER_VALUE, stage_needs
from scrcl.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrcl.engine.needs import Need
    from scrcl.engine.shape import Shape

__all__ = ["Budget", "plan_budget"]


@dataclass(frozen=True)
class Budget:
    """How the work is cut.

    Attributes
    ----------
    total_bytes
        What the user gave.
    block_rows, dense_block_rows
        Rows of a block of X, and of an embedding.
    n_workers
        Blocks in flight at once.
    """

    total_bytes: int
    block_rows: int
    dense_block_rows: int
    n_workers: int


def plan_budget(
    total_bytes: int,
    shape: Shape,
    *,
    stages: Iterable[str] | None = None,
    n_workers: int | None = None,
) -> Budget:
    """Fit ``stages`` (all) into ``total_bytes``, with at most ``n_workers``.

    By default that is one more than there are cores, and at most 8: while one block is read, others are
    worked on.

    Raises
    ------
    BudgetError
        A stage does not fit; the message says which, and what would do for all.
    """
    needs = stage_needs(shape)
    asked = {name: needs[name] for name in (needs if stages is None else stages) if name in needs}
    largest = max(asked, key=lambda name: asked[name].least_bytes)
    if total_bytes < asked[largest].least_bytes:
        raise BudgetError(_refusal(total_bytes, shape, largest, asked))
    fitting = [
        (total_bytes - need.fixed_bytes) // max(need.flight_bytes, 1)
        for need in asked.values()
        if need.shared
    ]
    return Budget(
        total_bytes=total_bytes,
        block_rows=shape.block_rows,
        dense_block_rows=shape.dense_block_rows,
        n_workers=min([n_workers or min((os.cpu_count() or 1) + 1, 8), *fitting]),
    )


def _refusal(total_bytes: int, shape: Shape, largest: str, asked: dict[str, Need]) -> str:
    needed = asked[largest].least_bytes
    way_out = "Give --memory more"
    if (
        largest == "train"
        and shape.estimates.train.block_bytes > shape.block_values * FEATURES_BYTES_PER_VALUE
    ):
        way_out += f", or lower {' or '.join(_lowering(shape))}"
    if "features" in asked and largest not in ("read", "stats", "features"):
        way_out += ", or end before by --until"
    return (
        f"memory must be at least {_megabytes(needed)} MB for {shape.n_cells:,} cells in the stage "
        f"{largest}; got {total_bytes // 10**6} MB. {way_out}."
    )


def _lowering(shape: Shape) -> tuple[str, ...]:
    """Return the settings that lower the memory of a training step."""
    return ("train.minibatch_cells", *shape.learning.method.lowers_memory)


def _megabytes(n_bytes: float) -> int:
    """Round up to tens of megabytes."""
    return math.ceil(n_bytes / 10**7) * 10
