"""Columns of obs that nobody named as batches, and that neighbours or clusters follow.

Without a batch key these are batches or conditions. With one, they are what the key leaves out: samples of two
conditions, where it names the donors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
from scrcl.prep.artifacts import COMPONENTS, STATS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from scrcl.engine.context import Context
    from scrcl.engine.words import Words
    from scrcl.io.labels import CellLabels
    from scrcl.typing import BoolArray, IntArray

__all__ = ["SuspectedColumn", "columns_beyond", "suspected_columns", "unnamed_columns"]


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
    is_condition
        Whether it looks like a condition, not like a batch.
    key
        Where a batch key leaves it out, the one to give: the column alone, or after the columns of the key.
    """

    column: str
    n_batches: int
    mixing: Mixing
    clusters: tuple[str, ...]
    is_followed: bool = True
    by_group: bool = False
    groups: tuple[str, ...] = ()
    is_condition: bool = False
    key: str = ""


class Unnamed(NamedTuple):
    """Columns of obs that look like batches, and like conditions."""

    batches: dict[str, CellLabels]
    conditions: dict[str, CellLabels]


def unnamed_columns(context: Context, retained: BoolArray) -> Unnamed:
    """Return the columns of obs that look like batches or conditions, for the retained cells."""
    from scrcl.engine.batch_columns import batch_like_columns, condition_like_columns

    obs = context.matrix.fresh_obs().iloc[np.flatnonzero(retained)]
    # Of files that are joined, the option for their column was advised as they were read.
    first = "sample" if "samples" in context.matrix.identity else None
    return Unnamed(batch_like_columns(obs, first=first), condition_like_columns(obs))


def columns_beyond(
    context: Context,
    batches: CellLabels,
    labels: IntArray,
    following: Collection[str],
    words: Words,
) -> list[SuspectedColumn]:
    """Return the columns that the batch key leaves out and that clusters follow, the fewest values first.

    Parameters
    ----------
    batches
        The batches that were named, of the retained cells.
    following
        Clusters that follow these.
    """
    from scrcl.engine.covariates import batch_columns

    key = str(context.config.batch_key)
    # The names of the columns alone: annotations of an atlas are large, and are read once more below.
    of_key = batch_columns(context.matrix.fresh_obs(), key)
    columns = unnamed_columns(context, context.open(STATS).retained)
    left_out = {*of_key, *_as_coarse(columns, batches)}
    rest = Unnamed(*({n: c for n, c in some.items() if n not in left_out} for some in columns))
    if not (rest.batches or rest.conditions):
        return []
    found = [
        each.model_copy(
            update={
                "key": each.column if _is_finer(rest, each, batches) else f"{key},{each.column}"
            }
        )
        for each in suspected_columns(context, rest, labels, words)
        if set(each.clusters) - set(following)
    ]
    return sorted(found, key=lambda each: each.n_batches)


def _as_coarse(columns: Unnamed, batches: CellLabels) -> Iterator[str]:
    """Yield the columns that have one value in each batch, so clusters follow the batches with them."""
    for name, labels in {**columns.batches, **columns.conditions}.items():
        if _n_pairs(labels, batches) == len(np.unique(batches.codes)):
            yield name


def _is_finer(columns: Unnamed, each: SuspectedColumn, batches: CellLabels) -> bool:
    """Return whether each value of a column is in one batch."""
    labels = {**columns.batches, **columns.conditions}[each.column]
    return _n_pairs(labels, batches) == len(np.unique(labels.codes))


def _n_pairs(first: CellLabels, second: CellLabels) -> int:
    return len(np.unique(first.codes.astype(np.int64) * len(second.names) + second.codes))


def suspected_columns(
    context: Context, columns: Unnamed, labels: IntArray, words: Words
) -> Iterator[SuspectedColumn]:
    """Yield those of some columns that neighbours or clusters follow: as `correct` would decide, were they named.

    A condition that divides the cells as groups of batches do is left out.
    """
    import pandas as pd

    from scrcl._random import drawn_rows, stream
    from scrcl.prep.batch_effect import what_keeps_apart

    seed = context.config.seed
    cells = drawn_rows(len(labels), TEST_CELLS, seed, "batches.check")
    if len(cells) < 3:
        return
    ids = neighbours_among(context.open(COMPONENTS), cells, seed)
    seen: set[bytes] = set()
    for name, batches in {**columns.batches, **columns.conditions}.items():
        drawn, codes = np.unique(batches.codes[cells], return_inverse=True)
        rng = stream(seed, "batches.need")
        apart = what_keeps_apart(ids, codes, rng, mixed_from(context.config))
        groups = group_of_all(drawn, apart.groups, len(batches.names))
        table = table_of(batches, labels)
        clusters = following_clusters(table, batches.names, groups, words)
        if not apart.differ and not clusters:
            continue
        by_group = apart.by_group or any(each.is_group for each in clusters)
        of_cells = groups[batches.codes] if by_group else batches.codes
        division = pd.factorize(of_cells)[0].tobytes()
        if name not in columns.batches and division in seen:
            continue
        seen.add(division)
        yield SuspectedColumn(
            column=name,
            n_batches=len(batches.names),
            mixing=Mixing.of(apart.effect),
            clusters=tuple(each.cluster for each in clusters),
            is_followed=apart.differ,
            by_group=apart.by_group,
            groups=group_labels(batches.names, groups) if by_group else (),
            is_condition=name not in columns.batches,
        )
