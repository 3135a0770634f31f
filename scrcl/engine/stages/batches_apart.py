"""Whether batches keep apart, by the neighbours of some cells: genes and components depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.stages.correct_fit import TEST_CELLS, neighbours_among

if TYPE_CHECKING:
    from scrcl.engine.config import RunConfig
    from scrcl.io.labels import CellLabels
    from scrcl.prep.batch_effect import Apart, BatchEffect
    from scrcl.typing import FloatArray, IntArray

__all__ = ["TestedCells", "batch_codes", "correction_method", "mixed_from"]


class TestedCells:
    """Cells whose neighbours show how batches mix."""

    def __init__(
        self, cells: IntArray, ids: IntArray, codes: IntArray, seed: int, mixed: float
    ) -> None:
        self._cells, self._ids, self._codes, self._seed = cells, ids, codes, seed
        self.mixed = mixed

    @classmethod
    def of(cls, points: FloatArray, codes: IntArray, config: RunConfig) -> TestedCells:
        """Draw the cells, and find their neighbours."""
        from scrcl.prep.batch_subset import cells_of_every_batch

        cells = cells_of_every_batch(codes, TEST_CELLS)
        ids = neighbours_among(points, cells, config.seed)
        return cls(cells, ids, codes[cells], config.seed, mixed_from(config))

    def batches_to_correct(self, codes: IntArray) -> tuple[IntArray, Apart]:
        """Return the batches of all cells as they are to be corrected, and whether and how they keep apart.

        Batches that mix well but lie apart from other ones are corrected as one.
        """
        from scrcl._random import stream
        from scrcl.prep.batch_effect import what_keeps_apart

        rng = stream(self._seed, "correct.need")
        found = what_keeps_apart(self._ids, self._codes, rng, self.mixed)
        return found.groups[codes] if found.by_group else codes, found

    def effect(self, points: FloatArray, codes: IntArray, one: int | None = None) -> BatchEffect:
        """Return how far batches keep apart in other points of the same cells; or one of them, if it is given."""
        from scrcl.prep.batch_effect import measure_effect, measure_one

        ids, codes = neighbours_among(points, self._cells, self._seed), codes[self._cells]
        return measure_effect(ids, codes) if one is None else measure_one(ids, codes, one)


def mixed_from(config: RunConfig) -> float:
    """Return the mixing below which batches keep apart.

    An average over a tissue keeps a small shift and loses the noise that hides it in a cell. Three slices that mixed at
    .95 as cells shared no neighbour as averages. So in a tissue any effect beyond chance counts.
    """
    from scrcl.prep.batch_effect import MIXED

    return 1.0 if config.spatial else MIXED


def correction_method(config: RunConfig) -> str:
    """Return how components are corrected: ``auto``, ``harmony`` or ``none``."""
    return str(config.group("correct").method)


def batch_codes(batches: CellLabels) -> tuple[IntArray, int]:
    """Return batches numbered without gaps, and how many there are."""
    names, codes = np.unique(batches.codes, return_inverse=True)
    return codes.astype(np.int32), len(names)
