"""Component scores after other scalings of the counts, corrected for batches where those of the run are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.stages.correct import CORRECTED_BATCHES, CORRECTION
from scrcl.prep.artifacts import COMPONENTS, FEATURES, STATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.engine.context import Context
    from scrcl.typing import FloatArray, IntArray

__all__ = ["scalings_of"]


def scalings_of(context: Context) -> Callable[[IntArray], list[FloatArray]] | None:
    """Return a function from cells to their scores after other scalings; None if the input has log values.

    Scores are corrected for batches in the soft clusters of the run's correction.
    """
    stats = context.open(STATS)
    if stats.already_log:
        return None
    store, totals = context.open(FEATURES), stats.cell_counts[stats.retained]
    batches = _corrected_batches(context) if context.has(CORRECTION) else None

    def of_cells(cells: IntArray) -> list[FloatArray]:
        from scrcl.cluster.algorithms.vote import MOST_COMPS
        from scrcl.prep.harmony import correct_alike
        from scrcl.prep.scalings import median_depth_scores, residual_scores

        logs = store.gather(cells)
        found: list[FloatArray] = [
            scores(logs, totals[cells], MOST_COMPS)
            for scores in (median_depth_scores, residual_scores)
        ]
        if batches is None:
            return found
        # Other scalings would bring the batches back.
        how, corrected = context.open(CORRECTION), np.asarray(context.open(COMPONENTS)[cells])
        return [correct_alike(how, corrected, scores, batches[cells]) for scores in found]

    return of_cells


def _corrected_batches(context: Context) -> IntArray:
    """Return the batch of each retained cell, by its number in the correction."""
    batches = context.covariates.batches
    assert batches is not None, "components are corrected for batches"
    batches = batches.of(context.open(STATS).retained)
    numbers = context.open(CORRECTED_BATCHES)
    # A batch without retained cells has no number.
    return np.array([numbers.get(name, 0) for name in batches.names])[batches.codes]
