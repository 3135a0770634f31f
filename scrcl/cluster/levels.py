"""Clusters one level up and one level down, and the support of each split between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.tree import linkage_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import Merges
    from scrcl.cluster.evidence import Evidence
    from scrcl.cluster.tree import Hierarchy
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Levels", "Parting", "Split", "levels_of", "rank_by_size"]


class Split(NamedTuple):
    """Two groups of cells that the next merge would join, or the next split would separate."""

    cells: tuple[int, int]
    """number of cells, the larger group first"""
    clusters: tuple[int, int]
    """their clusters: one cluster twice if it would be split"""
    support: float
    """depth of the valley between them; -1 if one has too few cells to measure it"""


class Parting(NamedTuple):
    """The larger group that a cluster is least apart from, of those that the tree would join it to."""

    others: tuple[int, ...]
    """the clusters of that group"""
    support: float
    """depth of the valley between both sides; -1 if one has too few cells to measure it"""


class Levels(NamedTuple):
    """Half as many and twice as many clusters, all cut from one tree, with the support of its splits."""

    fine: NDArray[np.int32]
    """shape (n_cells,): largest cluster first"""
    coarse: NDArray[np.int32]
    """shape (n_cells,): largest cluster first"""
    splits: NDArray[np.float64]
    """shape (n_fine - 1, 4), in the form of scipy's ``linkage``, with leaves by their numbers in ``fine`` and with
    supports in the place of heights; these do not ascend"""
    next_merge: Split | None
    """the first merge of two clusters in the tree; None if there is one cluster"""
    next_split: Split | None
    """the split that one cluster more would make; None if there are no more parts"""
    partings: tuple[Parting, ...]
    """of each cluster; none if there is one"""


def levels_of(
    tree: Hierarchy, micro_labels: IntArray, evidence: Evidence, *, smallest: int
) -> Levels:
    """Return the levels around the clusters of a tree.

    Parameters
    ----------
    tree
        Its clusters must be numbered by size.
    micro_labels
        ndarray of int, shape (n_cells,): micro-cluster of each cell.
    smallest
        Cells of the smallest fine cluster, if the tree allows it.
    """
    cluster_of_micro = tree.cluster_of_micro
    n_clusters = int(cluster_of_micro.max()) + 1
    fine = _ranked(tree.cut(min(2 * n_clusters, tree.n_micro), smallest=smallest), tree)
    coarse = _ranked(tree.cut((n_clusters + 1) // 2, smallest=smallest), tree)
    cluster_of_fine = np.empty(int(fine.max()) + 1, np.int64)
    cluster_of_fine[fine] = cluster_of_micro
    merges = tree.merges(fine)
    sizes = np.bincount(fine[micro_labels])
    steps = _steps(merges, fine[micro_labels[evidence.cells]], sizes, cluster_of_fine, evidence)
    n_inside = len(sizes) - n_clusters
    return Levels(
        fine=fine[micro_labels],
        coarse=coarse[micro_labels],
        splits=linkage_rows(merges, [step.support for step in steps]),
        next_merge=steps[n_inside] if n_clusters > 1 else None,
        next_split=_next_split(tree, micro_labels, evidence, smallest),
        partings=_partings(merges, steps, sizes, cluster_of_fine),
    )


def rank_by_size(sizes: FloatArray | IntArray) -> NDArray[np.int32]:
    """Return the new label of each cluster: the largest is 0, clusters of equal size keep their order."""
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes), dtype=np.int32)
    return rank


def _next_split(
    tree: Hierarchy, micro_labels: IntArray, evidence: Evidence, smallest: int
) -> Split | None:
    """Return the two groups that are separated if the tree is cut into one cluster more."""
    cluster_of_micro = tree.cluster_of_micro
    n_wanted = int(cluster_of_micro.max()) + 2
    if n_wanted > tree.n_micro:
        return None
    parts = _ranked(tree.cut(n_wanted, smallest=smallest), tree)
    cluster_of_part = np.empty(n_wanted, np.int64)
    cluster_of_part[parts] = cluster_of_micro
    split = int(np.bincount(cluster_of_part).argmax())
    sizes = np.bincount(parts[micro_labels], minlength=n_wanted)
    larger, smaller = np.flatnonzero(cluster_of_part == split)
    some = parts[micro_labels[evidence.cells]]
    support = evidence.support(np.flatnonzero(some == larger), np.flatnonzero(some == smaller))
    return Split((int(sizes[larger]), int(sizes[smaller])), (split, split), support)


def _ranked(parts: IntArray, tree: Hierarchy) -> NDArray[np.int32]:
    return rank_by_size(np.bincount(parts, tree.micro.sizes))[parts]


def _steps(
    merges: Merges,
    labels: IntArray,
    sizes: IntArray,
    cluster_of_fine: IntArray,
    evidence: Evidence,
) -> list[Split]:
    """Return what each merge joins; ``labels`` are the fine clusters of the cells of the evidence."""
    labels, sizes = labels.copy(), sizes.copy()
    steps = []
    for i, j in merges.pairs:
        support = evidence.support(np.flatnonzero(labels == i), np.flatnonzero(labels == j))
        larger, smaller = (i, j) if sizes[i] >= sizes[j] else (j, i)
        steps.append(
            Split(
                (int(sizes[larger]), int(sizes[smaller])),
                (int(cluster_of_fine[larger]), int(cluster_of_fine[smaller])),
                support,
            )
        )
        labels[labels == j] = i
        sizes[i] += sizes[j]
    return steps


def _partings(
    merges: Merges, steps: list[Split], sizes: IntArray, cluster_of_fine: IntArray
) -> tuple[Parting, ...]:
    """Return for each cluster the weakest merge that would join it to a larger group.

    That a small group would join a cluster says nothing against the cluster. The largest one is joined to none, and
    has the last merge of all.
    """
    members, cells = [frozenset([int(cluster)]) for cluster in cluster_of_fine], sizes.copy()
    joined: dict[int, list[Parting]] = {int(cluster): [] for cluster in cluster_of_fine}
    last: list[Parting] = []
    for (i, j), step in zip(merges.pairs, steps, strict=True):
        larger, smaller = (i, j) if cells[i] >= cells[j] else (j, i)
        if members[i] != members[j]:  # parts of one cluster come first
            own = tuple(sorted(members[smaller]))
            parting = Parting(tuple(sorted(members[larger])), step.support)
            for cluster in own:
                joined[cluster].append(parting)
            last = [Parting(own, step.support)]
        members[i] = members[i] | members[j]
        cells[i] += cells[j]
    return tuple(_weakest(joined[cluster] or last) for cluster in sorted(joined)) if last else ()


def _weakest(partings: list[Parting]) -> Parting:
    """Return the one with the least support, of those that could be measured if there are any."""
    measured = [each for each in partings if each.support >= 0]
    return min(measured or partings, key=lambda each: each.support)
