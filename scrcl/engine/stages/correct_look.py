"""Stage ``correct`` of a closer look into a run that was corrected for batches: the same correction, for other scores.

In the cells of one cluster alone, a donor that lies apart looks like a type that this donor alone has. Harmony then
keeps it apart, and subclusters would be donors. In the corrected components of the run, all donors were compared by
all types. So the soft clusters of the run are kept, and only the shift of each batch in each of them is computed for
the components of the look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import write_json
from scrcl._threads import one_blas_thread
from scrcl.engine.stages.batches_apart import TestedCells, batch_codes
from scrcl.engine.stages.correct import (
    CORRECTED_BATCHES,
    CORRECTION,
    CorrectRecord,
    CorrectStage,
    Mixing,
)
from scrcl.engine.stages.correct_fit import BLOCK_ROWS
from scrcl.io.arrays import RowWriter, release, row_blocks
from scrcl.prep.artifacts import COMPONENTS, STATS
from scrcl.prep.correction import Correction, soft_clusters
from scrcl.prep.harmony import shifted, shifts_alike

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.typing import FloatArray, IntArray

__all__ = ["CorrectLookStage"]

_LEAST_CELLS = 1.0
"""Cells that a soft cluster of the run must have among those of the look."""

_ROUNDS = 2
"""Harmony's ridge penalty leaves a sixth of each shift. Among cells of one type, that alone can part batches, so what
is left is corrected once more."""


class CorrectLookStage(CorrectStage):
    """Corrects the component scores of some cells of a run in the soft clusters of the run's correction.

    Parameters
    ----------
    run
        A run that was corrected.
    cells
        Positions of the cells among those of the run, ascending.
    """

    def __init__(self, run: OpenRun, cells: IntArray) -> None:
        self._run, self._cells = run, cells

    def run(self, context: Context, folder: Path) -> CorrectRecord:
        """Write the same files as `CorrectStage`; nothing where all cells are of one batch, or of one group."""
        batches = context.covariates.batches
        assert batches is not None, "the run was corrected for batches"
        retained = context.open(STATS).retained
        batches, cells = batches.of(retained), self._cells[retained]
        n_batches = batch_codes(batches)[1]
        numbers = self._run.open(CORRECTED_BATCHES)
        codes = np.array([numbers.get(name, 0) for name in batches.names], np.int32)[batches.codes]
        n_corrected = len(np.unique(codes))
        if n_corrected == 1:
            one = "one batch" if n_batches == 1 else "batches that mix well"
            return CorrectRecord(
                left_as_is=True, n_batches=n_batches, reason=f"all cells are of {one}"
            )
        points = context.open(COMPONENTS)
        test = TestedCells.of(points, codes, context.config)
        self._correct(points, codes, cells, folder)
        write_json(folder / "batches.json", numbers)
        after = test.effect(np.load(folder / "scores.npy", mmap_mode="r"), codes)
        return CorrectRecord(
            n_cells=len(points),
            reason="as in the run",
            n_batches=n_batches,
            n_corrected=n_corrected,
            before=Mixing.of(test.effect(points, codes)),
            after=Mixing.of(after),
            n_fitted=len(points),
            as_in_run=True,
        )

    def _correct(self, points: FloatArray, codes: IntArray, cells: IntArray, folder: Path) -> None:
        """Write ``scores.npy`` and ``correction.npz`` block by block."""
        known, corrected = self._run.open(CORRECTION), self._run.open(COMPONENTS)

        def blocks() -> Iterator[tuple[int, tuple[FloatArray, FloatArray, IntArray]]]:
            for start, stop in row_blocks(len(points), BLOCK_ROWS):
                weights = soft_clusters(corrected[cells[start:stop]], known.centroids)
                yield start, (weights, np.asarray(points[start:stop]), codes[start:stop])
                release(points)
                release(corrected)

        with one_blas_thread():
            shifts = np.zeros((*known.shifts.shape[:2], points.shape[1]))
            for _ in range(_ROUNDS):
                left = (
                    (weights, shifted(weights, rows, own, shifts), own)
                    for _, (weights, rows, own) in blocks()
                )
                shifts += shifts_alike(left, len(shifts))
            sizes = np.zeros(len(known.centroids))
            sums = np.zeros((len(sizes), points.shape[1]))
            with RowWriter(folder / "scores.npy", *points.shape) as writer:
                for start, block in blocks():
                    rows = shifted(*block, shifts)
                    writer.write(start, rows)
                    sizes += block[0].sum(axis=0)
                    sums += block[0].T @ rows
        kept = sizes >= min(_LEAST_CELLS, sizes.max())
        means = sums[kept] / sizes[kept, None]
        Correction.around(sizes[kept], means, shifts[:, kept]).save(folder / "correction.npz")
