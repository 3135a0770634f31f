"""What a prediction takes: arithmetic of bytes, from the sizes of the atlas and of the new cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scrcl._sizes import format_bytes
from scrcl.cluster.margin import BLOCK_VALUES
from scrcl.engine.budget import Budget, plan_budget
from scrcl.engine.needs import (
    ANNOTATION_BYTES,
    PLACE_BYTES,
    SEARCH_BYTES,
    Need,
    stage_needs,
)
from scrcl.engine.pipeline import index_bytes, shape_of
from scrcl.engine.predict.neighbours import LOOK
from scrcl.errors import BudgetError
from scrcl.io.arrays import SMALL_MAP_BYTES
from scrcl.train.memory import LIBRARIES_BYTES

if TYPE_CHECKING:
    from scrcl.engine.predict.atlas import Atlas
    from scrcl.io.matrix import CellMatrix

__all__ = ["plan_prediction", "prediction_needs"]

_STREAMED = ("read", "stats", "features", "reduce")


def prediction_needs(matrix: CellMatrix, atlas: Atlas) -> dict[str, Need]:
    """Return what each stage takes, by name, in order."""
    shape = replace(shape_of(matrix, atlas.config), n_genes=len(atlas.selected), gram=False)
    n, there, k = shape.n_cells, atlas.n_cells, shape.n_neighbors
    streamed = {name: need for name, need in stage_needs(shape).items() if name in _STREAMED}
    held = 12 * n * LOOK * k
    of_method = replace(shape, n_cells=there).estimates.new_cells
    per_cell = index_bytes(atlas.config, shape.n_comps, LOOK * k) + PLACE_BYTES
    kept = of_method.block_bytes + 8 * BLOCK_VALUES
    widths = of_method.disk_bytes // there
    return {
        **streamed,
        "graph": Need(
            LIBRARIES_BYTES
            + there * per_cell
            + 2 * min(4 * there * shape.n_comps, SMALL_MAP_BYTES)
            + min(held, 2 * SMALL_MAP_BYTES),
            min(SEARCH_BYTES, 300 * (n + there)),
            held + 4 * there * shape.n_comps,
        ),
        "embed": Need(
            of_method.fixed_bytes,
            of_method.block_bytes,
            n * widths,
        ),
        # The allocator keeps what the neighbours' rows took.
        "cluster": Need(LIBRARIES_BYTES + 40 * n, kept, 16 * n),
        "report": Need(LIBRARIES_BYTES + n * (ANNOTATION_BYTES + 16), kept, n * widths),
    }


def plan_prediction(matrix: CellMatrix, atlas: Atlas) -> Budget:
    """Fit all stages into the memory given.

    Raises
    ------
    BudgetError
        A stage does not fit; the message says which, and what would do for all.
    """
    given = atlas.config.memory
    needs = prediction_needs(matrix, atlas)
    largest = max(needs, key=lambda name: needs[name].least_bytes)
    least = needs[largest].least_bytes
    if given < least:
        message = (
            f"memory must be at least {format_bytes(least)} for {matrix.n_obs:,} new cells beside "
            f"{atlas.n_cells:,}, in the stage {largest}; got {format_bytes(given)}. "
            "Give --memory more."
        )
        raise BudgetError(message)
    shape = replace(shape_of(matrix, atlas.config), n_genes=len(atlas.selected), gram=False)
    return plan_budget(given, shape, stages=_STREAMED)
