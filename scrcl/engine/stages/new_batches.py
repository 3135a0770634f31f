"""Batches of new cells: which of them the run has, and the correction that moves the others towards it.

The cells of the run stay where they are, as in Symphony: the shift of a new batch is found around each centroid of the
correction of the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._group_means import group_means
from scrcl.engine.covariates import batch_columns, batch_names
from scrcl.engine.stages.correct_fit import blocks_of
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.cluster.counterparts import Counterparts
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.prep.correction import Correction
    from scrcl.typing import FloatArray, IntArray

__all__ = ["ROUNDS", "NewBatches", "correction_towards", "names_of_batches", "numbered"]

ROUNDS = 3
"""Times that new cells are read to find their shifts: cells of a new batch first lie apart from their types."""


class NewBatches(NamedTuple):
    """The batch of each new cell: numbers of the run, and after them those of batches that the run lacks."""

    codes: IntArray
    """shape (n_new,)"""
    n_in_run: int
    """batches of the run"""
    n_known: int
    """batches of the new cells that the run has"""
    n_new: int
    """batches of the new cells that the run lacks"""


def numbered(names: Sequence[str], in_run: dict[str, int]) -> NewBatches:
    """Return the batches of new cells by the name of the batch of each, and the numbers of the run."""
    new = sorted(set(names) - in_run.keys())
    n_in_run = max(in_run.values()) + 1
    numbers = in_run | {name: n_in_run + i for i, name in enumerate(new)}
    codes = np.array([numbers[name] for name in names], np.int32)
    return NewBatches(codes, n_in_run, len(set(names) & in_run.keys()), len(new))


def names_of_batches(context: Context, config: RunConfig) -> tuple[list[str], tuple[str, ...]]:
    """Return the batch of each new cell by name, and a note where nothing names them.

    Slices that the input itself shows are batches too, as in a run.
    """
    key, retained = config.batch_key, context.open(STATS).retained
    assert key is not None, "a run without batches corrects nothing"
    obs, samples = context.matrix.fresh_obs(), context.covariates.samples
    columns = batch_columns(obs, key)
    missing = [name for name in columns if name not in obs]
    if not missing:
        return batch_names(obs, columns)[retained].tolist(), ()
    if samples is not None:
        return [samples.names[code] for code in samples.codes[retained]], ()
    note = (
        f"The new cells have no column {missing[0]} in obs, so all of them are taken as one batch that the run "
        "does not have."
    )
    return ["new cells"] * int(retained.sum()), (note,)


def correction_towards(
    known: Correction,
    points: FloatArray,
    batches: NewBatches,
    alone: Counterparts | None = None,
    *,
    centre: FloatArray | None = None,
) -> Correction:
    """Return the correction of a run with the shifts of new batches.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_new, n_dims): the new cells.
    alone
        Regions of new batches that have no counterpart in the run. They say nothing about the shift.
    centre
        shape (n_dims,): where the mean of a new batch is moved to first, if it may lie too far away for shifts to be
        found.
    """
    from scrcl.prep.correction import joined
    from scrcl.prep.harmony import refit

    if not batches.n_new:
        return known
    starts = None
    if centre is not None:
        n_all = batches.n_in_run + batches.n_new
        starts = group_means(points, batches.codes, n_all)[batches.n_in_run :] - centre

    def blocks() -> Iterator[tuple[FloatArray, IntArray]]:
        for rows, own in blocks_of(points, batches.codes, alone):
            new = own >= batches.n_in_run
            yield rows[new], own[new] - batches.n_in_run

    shifts = refit(known, blocks, n_batches=batches.n_new, fixed=True, starts=starts, rounds=ROUNDS)
    return joined(known, shifts)
