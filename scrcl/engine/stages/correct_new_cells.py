"""Stage ``correct`` of a prediction: new cells are moved towards the corrected cells of the run.

Cells of a batch that the run has are corrected as its cells were. For another batch, its shift from the run's cells is
found around each centroid, as in Symphony; the run's cells stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl._random import drawn_rows
from scrcl.cluster.counterparts import find_counterparts
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES
from scrcl.engine.stage import NewCellsStage, Record
from scrcl.engine.stages.correct import (
    CORRECTED_BATCHES,
    CORRECTION,
    CorrectStage,
    correction_bytes,
)
from scrcl.engine.stages.correct_fit import BLOCK_ROWS, TEST_CELLS, write_corrected
from scrcl.engine.stages.new_batches import (
    ROUNDS,
    correction_towards,
    names_of_batches,
    numbered,
)
from scrcl.io.arrays import release, row_blocks
from scrcl.prep.artifacts import COMPONENTS
from scrcl.prep.batch_subset import cells_of_every_batch
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.cluster.counterparts import Counterparts
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.new_batches import NewBatches
    from scrcl.typing import FloatArray

__all__ = ["NewCorrectRecord", "NewCorrectStage"]


class NewCorrectRecord(Record):
    """Batches of the new cells that the run has, those that it lacks, and cells without a counterpart in the run."""

    n_known: int
    n_new: int
    n_alone: int


class NewCorrectStage(NewCellsStage[NewCorrectRecord]):
    """Corrects new cells towards those of the run."""

    name = "correct"
    record = NewCorrectRecord
    gives = (COMPONENTS,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return sums and shifts of the batches, and passes over the new cells."""
        n, d = shape.n_cells, shape.n_comps
        n_batches = len(set(self._run.open(CORRECTED_BATCHES).values())) + 1
        return Estimate(
            LIBRARIES_BYTES + (ANNOTATION_BYTES + 8) * n,
            correction_bytes(n_batches, d) + (24 * BLOCK_ROWS + 48 * TEST_CELLS) * d,
            disk_bytes=4 * n * d,
            read_bytes=4 * (ROUNDS + 1) * n * d,
            seconds=0.5 + 3e-7 * (ROUNDS + 1) * n * d,
        )

    def run(self, context: Context, folder: Path) -> NewCorrectRecord:
        """Write ``scores.npy``."""
        points, run = context.open(COMPONENTS), self._run
        names, notes = names_of_batches(context, run.config)
        batches = numbered(names, run.open(CORRECTED_BATCHES))
        alone, centre = None, None
        if run.config.spatial and run.record(CorrectStage).centred:
            # Slices that lie so far apart have no counterparts by distance. All were moved to one mean first.
            centre = _mean(run.open(COMPONENTS))
        elif batches.n_new:
            alone = self._without_counterpart(points, batches)
        correction = correction_towards(run.open(CORRECTION), points, batches, alone, centre=centre)
        n_alone = write_corrected(
            points,
            batches.codes,
            correction,
            folder / "scores.npy",
            left_out=alone,
            on_rows=context.count("correct", len(points)),
        )
        if n_alone:
            note = (
                f"{n_alone:,} of {len(points):,} new cells have no counterpart in the run. They were moved with their "
                "batch. Look at their confidence."
            )
            notes = (*notes, note)
        return NewCorrectRecord(
            n_cells=len(points),
            n_alone=n_alone,
            n_known=batches.n_known,
            n_new=batches.n_new,
            notes=notes,
        )

    def section(self, run: OpenRun) -> Section:
        """Return the batches for the overview."""
        record = run.record(NewCorrectStage)
        text = f"{record.n_known} of the run, {record.n_new} new, corrected towards the run's cells"
        return Section("Batch correction", overview={"batches": text}, notes=record.notes)

    def _without_counterpart(self, points: FloatArray, batches: NewBatches) -> Counterparts:
        """Return which regions of new batches have no counterpart among the cells of the run."""
        seed, there, codes = self._run.config.seed, self._run.open(COMPONENTS), batches.codes
        of_run = drawn_rows(len(there), TEST_CELLS, seed, "correct.run")
        new = np.flatnonzero(codes >= batches.n_in_run)
        new = new[cells_of_every_batch(codes[new], TEST_CELLS)]
        # All cells of the run are one batch. Its number is that of a batch that the new cells do not have.
        both = np.concatenate([there[of_run], points[new]])
        of_both = np.concatenate([np.full(len(of_run), -1), codes[new]])
        return find_counterparts(both, of_both, seed=seed)


def _mean(points: FloatArray) -> FloatArray:
    """Return the mean of points that are read block by block, shape (n_dims,)."""
    sums = np.zeros(points.shape[1])
    for start, stop in row_blocks(len(points), BLOCK_ROWS):
        sums += points[start:stop].sum(axis=0, dtype=np.float64)
        release(points)
    mean: FloatArray = sums / max(len(points), 1)
    return mean
