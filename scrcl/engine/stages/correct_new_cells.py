"""Stage ``correct`` of a prediction: new cells are moved towards the corrected cells of the run.

Cells of a batch that the run has are corrected as its cells were. For another batch, its shift from the run's cells is
found around each centroid, as in Symphony; the run's cells stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl._random import drawn_rows
from scrcl._threads import one_blas_thread
from scrcl.cluster.counterparts import find_counterparts
from scrcl.engine.covariates import batch_columns, batch_names
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES
from scrcl.engine.stage import Record, Stage
from scrcl.engine.stages.correct import CORRECTED_BATCHES, CORRECTION, correction_bytes
from scrcl.engine.stages.correct_fit import BLOCK_ROWS, TEST_CELLS, blocks_of
from scrcl.io.arrays import RowWriter
from scrcl.prep.artifacts import COMPONENTS, STATS
from scrcl.prep.batch_subset import cells_of_every_batch
from scrcl.prep.correction import joined
from scrcl.prep.harmony import refit
from scrcl.report.page import Section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.cluster.counterparts import Counterparts
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.prep.correction import Correction
    from scrcl.typing import FloatArray, IntArray

__all__ = ["NewCorrectRecord", "NewCorrectStage"]

_ROUNDS = 3
"""Times that new cells are read to find their shifts: cells of a new batch first lie apart from their types."""


class NewCorrectRecord(Record):
    """Batches of the new cells that the run has, those that it lacks, and cells without a counterpart in the run."""

    n_known: int
    n_new: int
    n_alone: int


class NewCorrectStage(Stage[NewCorrectRecord]):
    """Corrects new cells towards those of the run."""

    name = "correct"
    record = NewCorrectRecord
    takes = (STATS, COMPONENTS)
    gives = (COMPONENTS,)

    def __init__(self, run: OpenRun) -> None:
        self._run = run

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return sums and shifts of the batches, and passes over the new cells."""
        n, d = shape.n_cells, shape.n_comps
        n_batches = len(set(self._run.open(CORRECTED_BATCHES).values())) + 1
        return Estimate(
            LIBRARIES_BYTES + (ANNOTATION_BYTES + 8) * n,
            correction_bytes(n_batches, d) + (24 * BLOCK_ROWS + 48 * TEST_CELLS) * d,
            disk_bytes=4 * n * d,
            read_bytes=4 * (_ROUNDS + 1) * n * d,
            seconds=0.5 + 3e-7 * (_ROUNDS + 1) * n * d,
        )

    def run(self, context: Context, folder: Path) -> NewCorrectRecord:
        """Write ``scores.npy``."""
        points, known = context.open(COMPONENTS), self._run.open(CORRECTED_BATCHES)
        names, notes = self._names(context)
        new_names = sorted(set(names) - known.keys())
        n_known = max(known.values()) + 1
        numbers = known | {name: n_known + i for i, name in enumerate(new_names)}
        codes = np.array([numbers[name] for name in names], np.int32)
        alone = self._without_counterpart(points, codes, n_known) if new_names else None
        correction = self._correction(points, codes, alone, n_known, len(new_names))
        advance, start, n_alone = context.count("correct", len(points)), 0, 0
        with RowWriter(folder / "scores.npy", *points.shape) as writer, one_blas_thread():
            for rows, own in blocks_of(points, codes):
                kept = None if alone is None else alone.alone(rows, own)
                writer.write(start, correction.corrected(rows, own, kept))
                n_alone += 0 if kept is None else int(kept.sum())
                start += len(rows)
                advance(len(rows))
        if n_alone:
            note = (
                f"{n_alone:,} of {len(points):,} new cells have no counterpart in the run. They were moved with their "
                "batch. Look at their confidence."
            )
            notes = (*notes, note)
        return NewCorrectRecord(
            n_cells=len(points),
            n_alone=n_alone,
            n_known=len(set(names) & known.keys()),
            n_new=len(new_names),
            notes=notes,
        )

    def section(self, run: OpenRun) -> Section:
        """Return the batches for the overview."""
        record = run.record(NewCorrectStage)
        text = f"{record.n_known} of the run, {record.n_new} new, corrected towards the run's cells"
        return Section("Batch correction", overview={"batches": text}, notes=record.notes)

    def _without_counterpart(
        self, points: FloatArray, codes: IntArray, n_known: int
    ) -> Counterparts:
        """Return which regions of new batches have no counterpart among the cells of the run."""
        seed, there = self._run.config.seed, self._run.open(COMPONENTS)
        of_run = drawn_rows(len(there), TEST_CELLS, seed, "correct.run")
        new = np.flatnonzero(codes >= n_known)
        new = new[cells_of_every_batch(codes[new], TEST_CELLS)]
        # All cells of the run are one batch. Its number is that of a batch that the new cells do not have.
        both = np.concatenate([there[of_run], points[new]])
        batches = np.concatenate([np.full(len(of_run), -1), codes[new]])
        return find_counterparts(both, batches, seed=seed)

    def _correction(
        self,
        points: FloatArray,
        codes: IntArray,
        alone: Counterparts | None,
        n_known: int,
        n_new: int,
    ) -> Correction:
        """Return the run's correction with the shifts of new batches."""
        known = self._run.open(CORRECTION)
        if not n_new:
            return known

        def blocks() -> Iterator[tuple[FloatArray, IntArray]]:
            for block, own in blocks_of(points, codes, alone):
                new = own >= n_known
                yield block[new], own[new] - n_known

        return joined(known, refit(known, blocks, n_batches=n_new, fixed=True, rounds=_ROUNDS))

    def _names(self, context: Context) -> tuple[list[str], tuple[str, ...]]:
        """Return the batch of each new cell by name, and a note where they do not name any."""
        key, retained = self._run.config.batch_key, context.open(STATS).retained
        assert key is not None, "a run without batches corrects nothing"
        obs = context.matrix.fresh_obs()
        columns = batch_columns(obs, key)
        missing = [name for name in columns if name not in obs]
        if missing:
            note = (
                f"The new cells have no column {missing[0]} in obs, so all of them are taken as one batch that the run "
                "does not have."
            )
            return ["new cells"] * int(retained.sum()), (note,)
        return batch_names(obs, columns)[retained].tolist(), ()
