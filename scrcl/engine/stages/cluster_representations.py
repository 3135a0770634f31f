"""The representations of cells that vote: component scores after several scalings of the counts.

Where components were corrected for batches, so is each of the others, by a fit of Harmony of its own. Harmony may move
a type that one batch alone has onto another type, but seldom does so in all scalings. What is lost in one of them, the
others outvote (``bench.batches.donors``). A fit may also leave batches apart in one scaling that it joins in another.
Then the scaling is corrected in the soft clusters of the run's correction. Where batches were shifted as a whole before
the fit, so are they in each scaling. Where some batches count reads and others
molecules, the scalings are of molecules (`scrcl.prep.molecules`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.evidence import Uncorrected
from scrcl.cluster.protocol import Representations
from scrcl.engine.stages.correct import CORRECTED_BATCHES, CORRECTION, CorrectStage
from scrcl.engine.stages.correct_fit import neighbours_among
from scrcl.prep.artifacts import COMPONENTS, FEATURES, PLAIN_COMPONENTS, STATS
from scrcl.prep.batch_effect import share_joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.engine.context import Context
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["representations_inside", "representations_of"]

_LEAST_JOINED = 0.5
"""A fit of its own must join at least this share of the cells that the run's soft clusters join with other batches. In
23 cases it was .8 or more, or .6 or less where the cells of a batch hardly met others (``bench.batches.donors``)."""


def representations_of(context: Context) -> Callable[[IntArray], Representations]:
    """Return a function from cells to their representations.

    Log values that are not of counts have only one: their component scores.
    """
    batches = _corrected_batches(context) if context.has(CORRECTION) else None

    def of_cells(cells: IntArray) -> Representations:
        components = _leading(context.open(COMPONENTS), cells)
        codes = None if batches is None else batches[cells]
        scalings = _scalings(context, cells, codes)
        if codes is None:
            return Representations([components, *scalings])
        return Representations(
            [components, *_corrected(context, cells, scalings, codes)],
            Uncorrected(codes, [_leading(context.open(PLAIN_COMPONENTS), cells), *scalings]),
        )

    return of_cells


def representations_inside(context: Context) -> Callable[[IntArray], Representations] | None:
    """Return a function from the cells of one cluster to representations in components of these alone.

    Genes are those of the run. None where components were corrected for batches: what a correction leaves of these
    would be what parts the cells of one cluster most (`bench/results/accuracy/2026-12-01-2cpu-divided.md`).
    """
    from scrcl.cluster.agreement import MOST_COMPS
    from scrcl.prep.scalings import scores_inside

    if context.has(CORRECTION):
        return None

    def of_cells(cells: IntArray) -> Representations:
        return Representations(scores_inside(*_values(context, cells, None), MOST_COMPS))

    return of_cells


def _leading(scores: FloatArray, cells: IntArray) -> FloatArray:
    from scrcl.cluster.agreement import MOST_COMPS

    return np.asarray(scores[cells, :MOST_COMPS], np.float32)


def _scalings(context: Context, cells: IntArray, codes: IntArray | None) -> list[FloatArray]:
    """Return component scores after other scalings of the counts, if there are counts behind the values."""
    from scrcl.cluster.agreement import MOST_COMPS
    from scrcl.prep.scalings import median_depth_scores, residual_scores

    logs, totals = _values(context, cells, codes)
    if totals is None:
        return []
    return [scores(logs, totals, MOST_COMPS) for scores in (median_depth_scores, residual_scores)]


def _values(
    context: Context, cells: IntArray, codes: IntArray | None
) -> tuple[Csr, FloatArray | None]:
    """Return log values of cells, and their totals if there are counts behind the values."""
    from scrcl.prep.molecules import totals_in_molecules
    from scrcl.prep.scalings import totals_behind

    stats, logs = context.open(STATS), context.open(FEATURES).gather(cells)
    is_log = stats.already_log
    totals = totals_behind(logs) if is_log else stats.cell_counts[stats.retained][cells]
    if totals is not None and codes is not None:
        totals = totals_in_molecules(logs, totals, codes)
    return logs, totals


def _corrected(
    context: Context, cells: IntArray, scalings: list[FloatArray], codes: IntArray
) -> list[FloatArray]:
    """Return scores without the differences between batches; otherwise the scalings would bring these back."""
    from scrcl.cluster.batch_shifts import match_clusters
    from scrcl.prep.harmony import correct_alike, fit_harmony

    seed, n_workers = context.config.seed, context.budget.n_threads
    how, corrected = context.open(CORRECTION), np.asarray(context.open(COMPONENTS)[cells])
    if context.record(CorrectStage).centred:
        plain = np.asarray(context.open(PLAIN_COMPONENTS)[cells])
        matched = match_clusters(plain, codes, len(how.shifts), seed=seed)
        scalings = [scores - matched.shifts(scores)[codes] for scores in scalings]
    alike = [correct_alike(how, corrected, scores, codes) for scores in scalings]
    present, codes = np.unique(codes, return_inverse=True)
    if context.record(CorrectStage).as_in_run or len(present) == 1:
        return alike
    found = []
    for scores, other in zip(scalings, alike, strict=True):
        own = fit_harmony(scores, codes, len(present), seed=seed, n_workers=n_workers).corrected
        joined, joined_alike = (_share_joined(rows, codes, seed) for rows in (own, other))
        found.append(own if joined >= _LEAST_JOINED * joined_alike else other)
    return found


def _share_joined(scores: FloatArray, codes: IntArray, seed: int) -> float:
    return share_joined(neighbours_among(scores, np.arange(len(scores)), seed), codes)


def _corrected_batches(context: Context) -> IntArray:
    """Return the batch of each retained cell, by its number in the correction."""
    batches = context.covariates.batches
    assert batches is not None, "components are corrected for batches"
    batches = batches.of(context.open(STATS).retained)
    numbers = context.open(CORRECTED_BATCHES)
    # A batch without retained cells has no number.
    return np.array([numbers.get(name, 0) for name in batches.names])[batches.codes]
