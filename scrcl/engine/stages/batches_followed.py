"""Clusters that follow batches, and groups of batches: nearly all of their cells are from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._crosstab import crosstab
from scrcl.engine.stage import Fields
from scrcl.engine.stages.correct import group_members
from scrcl.engine.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.engine.words import Words
    from scrcl.io.labels import CellLabels
    from scrcl.typing import BoolArray, IntArray

__all__ = ["FollowingCluster", "following_clusters", "group_labels", "group_of_all", "table_of"]

_FOLLOWS = 0.9
"""Share of a cluster's cells from one batch from which the cluster follows it."""

_LIFT = 1.5
"""A batch's share of a cluster over its share of all cells, at least, in a cluster that follows it."""


class FollowingCluster(Fields):
    """A cluster whose cells are nearly all from one batch, or from one group of batches that mix.

    Attributes
    ----------
    of
        The name of the batch, or the names in the group.
    is_group
        Whether it follows a group, and no single batch of it.
    n_of, n_cells
        Its cells of this batch or group, and all of its cells.
    """

    cluster: str
    of: str
    is_group: bool
    n_of: int
    n_cells: int


def table_of(batches: CellLabels, labels: IntArray) -> IntArray:
    """Return the cells of each batch in each cluster."""
    return crosstab(labels, batches.codes, n_columns=len(batches.names))


def following_clusters(
    table: IntArray, names: Sequence[str], groups: IntArray, words: Words
) -> tuple[FollowingCluster, ...]:
    """Return the clusters that follow one batch or one group, far more than chance gives.

    Parameters
    ----------
    table
        ndarray of int, shape (n_clusters, n_batches): cells.
    names, groups
        The name of each batch, and its group from 0.
    """
    summed = np.zeros((int(groups.max()) + 1, len(table)), table.dtype)
    np.add.at(summed, groups, table.T)
    by_group = summed.T
    of_batch, of_group = _follow(table), _follow(by_group)
    sizes = np.bincount(groups)[groups]

    def found() -> Iterator[FollowingCluster]:
        for i in np.flatnonzero(of_batch | of_group):
            counts = table[i] if of_batch[i] else by_group[i]
            largest = int(counts.argmax())
            of_one = bool(of_batch[i]) or sizes[groups == largest][0] == 1
            yield FollowingCluster(
                cluster=words.name(int(i)),
                of=names[largest] if of_batch[i] else group_labels(names, groups)[largest],
                is_group=not of_one,
                n_of=int(counts[largest]),
                n_cells=int(table[i].sum()),
            )

    return tuple(found())


def group_labels(names: Sequence[str], groups: IntArray) -> tuple[str, ...]:
    """Return the names of the batches in each group, the first few of many."""
    return tuple(map(listed, group_members(dict(zip(names, groups.tolist(), strict=True)))))


def group_of_all(present: IntArray, groups: IntArray, n_batches: int) -> IntArray:
    """Return the group of every batch, from 0 and without gaps; one that is not ``present`` is by itself.

    Parameters
    ----------
    present, groups
        ndarrays of int: batches below ``n_batches``, and the group of each of them.
    """
    found = n_batches + np.arange(n_batches)
    found[present] = groups
    return np.asarray(np.unique(found, return_inverse=True)[1])


def _follow(table: IntArray) -> BoolArray:
    """Return which clusters follow one column of a table of cells."""
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    by_chance = table.sum(axis=0) / table.sum()
    largest, top = shares.argmax(axis=1), shares.max(axis=1)
    return np.asarray((top >= _FOLLOWS) & (top >= _LIFT * by_chance[largest]))
