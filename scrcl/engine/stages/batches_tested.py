"""Named batches: the groups that they lie in, how they mix inside clusters, and conditions that coincide with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.stages.batches_followed import group_labels, group_of_all
from scrcl.engine.stages.correct import CORRECTED_BATCHES, CorrectStage
from scrcl.engine.stages.correct_fit import TEST_CELLS, neighbours_among
from scrcl.io.labels import CellLabels
from scrcl.prep.artifacts import COMPONENTS, PLAIN_COMPONENTS, STATS

if TYPE_CHECKING:
    from scrcl.engine.context import Context
    from scrcl.typing import IntArray

__all__ = ["APART", "TestedBatches", "confounded_conditions"]

APART = 0.5
"""Mixing below which batches keep apart inside a cluster."""


@dataclass(frozen=True)
class TestedBatches:
    """Cells of every batch, and their neighbours before and after a correction.

    Attributes
    ----------
    cells, present, codes
        Cells that are compared, the batches that have cells, and the position of the batch of each cell among these.
    before, after
        Neighbours among them, as of `neighbours_among`; ``after`` is None where nothing was corrected.
    groups
        ndarray of int, shape (n_batches,): group of each batch. Batches that were corrected as one, or else those that
        mix before a correction.
    """

    cells: IntArray
    present: IntArray
    codes: IntArray
    before: IntArray
    after: IntArray | None
    groups: IntArray

    @classmethod
    def of(cls, context: Context, batches: CellLabels) -> TestedBatches:
        """Draw the cells, and find their neighbours."""
        from scrcl.prep.batch_subset import cells_of_every_batch

        present, codes = np.unique(batches.codes, return_inverse=True)
        cells = cells_of_every_batch(codes, TEST_CELLS)
        before = neighbours_among(context.open(PLAIN_COMPONENTS), cells, context.config.seed)
        after = None
        if not context.record(CorrectStage).left_as_is:
            after = neighbours_among(context.open(COMPONENTS), cells, context.config.seed)
        groups = _groups(context, batches.names, present, before, codes[cells])
        return cls(cells, present, codes[cells], before, after, groups)

    def mixing(
        self, ids: IntArray, labels: IntArray, n_clusters: int, codes: IntArray | None = None
    ) -> list[float | None]:
        """Return how batches, or other ``codes`` of the cells, mix inside each cluster; None for a cluster of one."""
        from scrcl.prep.batch_effect import mixing_in_clusters

        codes = self.codes if codes is None else codes
        found = mixing_in_clusters(ids, codes, labels[self.cells], n_clusters)
        return [None if np.isnan(value) else float(value) for value in found]

    def apart_groups(self, labels: IntArray, n_clusters: int) -> list[int]:
        """Return the clusters inside of which groups keep apart; none if each batch is a group."""
        codes = np.unique(self.groups[self.present][self.codes], return_inverse=True)[1]
        if codes.max() + 1 == len(self.present):
            return []
        ids = self.before if self.after is None else self.after
        found = self.mixing(ids, labels, n_clusters, codes)
        return [i for i, mixing in enumerate(found) if mixing is not None and mixing < APART]


def _groups(
    context: Context, names: tuple[str, ...], present: IntArray, ids: IntArray, codes: IntArray
) -> IntArray:
    from scrcl.prep.batch_effect import groups_that_mix

    if context.record(CorrectStage).by_group:
        numbers = context.open(CORRECTED_BATCHES)
        groups = np.array([numbers.get(names[i], 0) for i in present])
    else:
        groups = groups_that_mix(ids, codes)
    return group_of_all(present, groups, len(names))


def confounded_conditions(
    context: Context, batches: CellLabels, groups: IntArray, *, any_apart: bool
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the conditions that coincide with batches or groups: fields of the record of the stage.

    Parameters
    ----------
    any_apart
        Whether clusters follow batches or groups.
    """
    from scrcl.engine.batch_columns import confounded_levels
    from scrcl.engine.covariates import batch_columns

    obs = context.matrix.fresh_obs()
    but = batch_columns(obs, str(context.config.batch_key))
    obs = obs.iloc[np.flatnonzero(context.open(STATS).retained)]
    correction, found = context.record(CorrectStage), {}
    # Where batches mix and nothing was done, only columns that are named as conditions are worth a note.
    matters = any_apart or not correction.left_as_is
    if not correction.by_group:
        found["confounded"] = confounded_levels(obs, batches, but=but, any_name=matters)
    n_groups, n_batches = (len(np.unique(of)) for of in (groups[batches.codes], batches.codes))
    if matters and 1 < n_groups < n_batches:
        codes = groups[batches.codes].astype(np.int32)
        of_groups = CellLabels(codes, group_labels(batches.names, groups))
        found["confounded_groups"] = confounded_levels(obs, of_groups, but=but, any_name=True)
    return {
        name: {column: tuple(levels) for column, levels in columns.items()}
        for name, columns in found.items()
    }
