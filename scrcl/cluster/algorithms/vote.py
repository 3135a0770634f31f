"""The clusters that several representations of the same cells support, or another number cut from their tree.

`scrcl.cluster.supported` finds the clusters. Another number is cut from a tree. Its upper part joins these clusters:
those first that are near in all representations side by side, and parted by a low barrier
(`scrcl.cluster.merging.join_order`). Its lower part divides them, the clearest splits first (`scrcl.cluster.finer`),
and in the end by damped average linkage in the embedding. Figures: `bench/results/accuracy/2026-12-01-2cpu-finer.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.agreement import side_by_side
from scrcl.cluster.algorithms.leiden import of_all_cells
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.counted import counted
from scrcl.cluster.finer import Finer, Halving, divide_further
from scrcl.cluster.merging import join_order
from scrcl.cluster.micro import micro_clusters_inside, summarise
from scrcl.cluster.protocol import Grouping
from scrcl.cluster.supported import Voters, divided, supported_clusters
from scrcl.cluster.tree import Hierarchy, Joins
from scrcl.cluster.vote_notes import (
    note_of_divided,
    note_of_joined,
    note_of_rare,
    note_of_whole,
)
from scrcl.io.arrays import SMALL_MAP_BYTES, gathered

if TYPE_CHECKING:
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.cluster.supported import Supported
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_vote"]

_LEVEL_BELOW = 2
"""Parts of each cluster one level down (`scrcl.cluster.levels`). That many are divided by their clearest splits."""


def by_vote(
    spaces: Spaces, n_clusters: int | None, *, settings: ClusterSettings, seed: int
) -> Grouping:
    """Return the clusters that the data supports, or a cut of their tree into ``n_clusters``.

    At most ``cluster.vote_cells`` cells vote. The others get the cluster of their nearest micro-cluster. Without
    component scores, as in a tissue, linkage finds the clusters.
    """
    if spaces.scores is None:
        return counted(by_linkage)(spaces, n_clusters, settings=settings, seed=seed)
    voters = Voters.of(spaces, settings, seed)
    found = supported_clusters(spaces, voters, settings=settings, seed=seed)
    found = divided(found, spaces, n_clusters, settings=settings, seed=seed)
    wanted = n_clusters or found.n_clusters
    points = np.asarray(gathered(spaces.points, voters.cells, above=SMALL_MAP_BYTES), np.float32)
    n_cells, cost = len(spaces.points), MergeCost(settings.size_power)
    n_micro = settings.n_micro_clusters(n_cells, wanted)
    smallest = settings.smallest_in_subset(len(points), n_cells)
    halving = Halving(n_micro, cost, smallest, spaces.device)
    parts = _parts(found, wanted, points, halving, seed)
    some_labels, means, part_of_micro = micro_clusters_inside(
        points, parts.labels, n_micro, seed=seed, device=spaces.device
    )
    if wanted > len(part_of_micro):
        return by_linkage(spaces, wanted, settings=settings, seed=seed)
    cluster_of_part = np.empty(int(parts.labels.max()) + 1, np.int32)
    cluster_of_part[parts.labels] = found.labels
    supported_of_micro = cluster_of_part[part_of_micro]
    may_join = ~found.found_whole()[supported_of_micro]
    micro_labels = of_all_cells(spaces.points, voters.cells, some_labels, means, may_join)
    summary = summarise(spaces.points, micro_labels)
    joins = Joins(part_of_micro, parts.joins + _joins(found, settings))
    cluster_of_micro = supported_of_micro
    if wanted != found.n_clusters:
        tree = Hierarchy(summary, supported_of_micro, cost, joins)
        cluster_of_micro = tree.cut(wanted, smallest=settings.smallest_cells)
    return Grouping(
        micro_labels,
        means,
        cluster_of_micro,
        cost,
        summary=summary,
        note=_note(found, wanted, supported_of_micro, cluster_of_micro, summary.sizes),
        evidence=found.evidence,
        joins=joins,
    )


def _parts(found: Supported, wanted: int, points: FloatArray, halving: Halving, seed: int) -> Finer:
    """Return the clusters divided by their clearest splits, as far as one level down; ``points`` are the same cells.

    Where parts of whole clusters are supported but not asked for, the clusters are returned as they are: joining these
    parts is worse than halving whole clusters.
    """
    if found.n_divided is None or wanted < found.n_divided:
        return Finer(found.labels, [])
    return divide_further(
        found.evidence,
        points,
        found.labels,
        found.communities,
        _LEVEL_BELOW * wanted,
        halving=halving,
        seed=seed,
    )


def _joins(found: Supported, settings: ClusterSettings) -> list[tuple[int, int]]:
    """Return the order in which the clusters are joined until one is left."""
    joint = side_by_side(found.evidence.spaces)
    return join_order(found.evidence, found.labels, joint, settings.size_power, n_rare=found.n_rare)


def _note(
    found: Supported,
    wanted: int,
    supported_of_micro: IntArray,
    cluster_of_micro: IntArray,
    micro_sizes: FloatArray,
) -> str | None:
    """Return what the user should know about the number of clusters; None for nothing."""
    n_supported, n_divided = found.n_clusters, found.n_divided
    n_in_all = n_divided or n_supported
    if wanted > n_supported:
        return note_of_divided(wanted, n_supported, n_in_all)
    if wanted < n_supported:
        return note_of_joined(
            supported_of_micro, cluster_of_micro, micro_sizes, left_whole=n_divided is None
        )
    sizes = np.bincount(supported_of_micro, micro_sizes).astype(np.int64)
    notes = note_of_rare(sizes[n_supported - found.n_rare :]), note_of_whole(n_supported, n_in_all)
    return " ".join(filter(None, notes)) or None
