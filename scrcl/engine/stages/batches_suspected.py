"""Columns of obs that nobody named as batches, and that neighbours or clusters follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.stage import Fields
from scrcl.engine.stages.batches_apart import mixed_from
from scrcl.engine.stages.batches_followed import (
    following_clusters,
    group_labels,
    group_of_all,
    table_of,
)
from scrcl.engine.stages.correct import Mixing
from scrcl.engine.stages.correct_fit import TEST_CELLS, neighbours_among
from scrcl.prep.artifacts import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.engine.context import Context
    from scrcl.io.labels import CellLabels
    from scrcl.typing import BoolArray, IntArray

__all__ = ["SuspectedColumn", "suspected_columns", "unnamed_batches"]


class SuspectedColumn(Fields):
    """A column of obs that was not named as batch, and that neighbours or clusters follow.

    Attributes
    ----------
    mixing
        Of its values, or of groups of values that mix if ``by_group``.
    clusters
        Clusters whose cells are nearly all from one of its batches, or from one group of them.
    is_followed
        Whether neighbours follow it. One batch of several may lie apart in some clusters alone.
    groups
        Names of the values in each group, where neighbours or clusters follow groups.
    """

    column: str
    n_batches: int
    mixing: Mixing
    clusters: tuple[str, ...]
    is_followed: bool = True
    by_group: bool = False
    groups: tuple[str, ...] = ()


def unnamed_batches(context: Context, retained: BoolArray) -> dict[str, CellLabels]:
    """Return the columns of obs that look like batches, for the retained cells."""
    from scrcl.engine.batch_columns import batch_like_columns

    obs = context.matrix.fresh_obs().iloc[np.flatnonzero(retained)]
    # Of files that are joined, the option for their column was advised as they were read.
    return batch_like_columns(obs, first="sample" if "samples" in context.matrix.identity else None)


def suspected_columns(
    context: Context, columns: dict[str, CellLabels], labels: IntArray, prefix: str
) -> Iterator[SuspectedColumn]:
    """Yield those of some columns that neighbours or clusters follow: as `correct` would decide, were they named."""
    from scrcl._random import drawn_rows, stream
    from scrcl.prep.batch_effect import what_keeps_apart

    seed = context.config.seed
    cells = drawn_rows(len(labels), TEST_CELLS, seed, "batches.check")
    if len(cells) < 3:
        return
    ids = neighbours_among(context.open(COMPONENTS), cells, seed)
    for name, batches in columns.items():
        drawn, codes = np.unique(batches.codes[cells], return_inverse=True)
        rng = stream(seed, "batches.need")
        apart = what_keeps_apart(ids, codes, rng, mixed_from(context.config))
        groups = group_of_all(drawn, apart.groups, len(batches.names))
        table = table_of(batches, labels)
        clusters = following_clusters(table, batches.names, groups, prefix)
        if not apart.differ and not clusters:
            continue
        by_group = apart.by_group or any(each.is_group for each in clusters)
        yield SuspectedColumn(
            column=name,
            n_batches=len(batches.names),
            mixing=Mixing.of(apart.effect),
            clusters=tuple(each.cluster for each in clusters),
            is_followed=apart.differ,
            by_group=apart.by_group,
            groups=group_labels(batches.names, groups) if by_group else (),
        )
