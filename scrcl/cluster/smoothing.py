"""Smooth the labels of a tissue: every cell gets the cluster of most cells around it.

A spatial domain is a region, but clusters of single cells are speckled. Smoothing removes single cells of other
clusters inside a region. The trees, the micro-clusters, the cluster means and the levels stay those before smoothing,
so new cells and cuts still follow the embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.levels import rank_by_size

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from scrcl.cluster.find import Clusters
    from scrcl.cluster.levels import Levels, Split
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["smooth_clusters"]


class Smoothed(NamedTuple):
    """Clusters after smoothing, and the labels before it."""

    clusters: Clusters
    before: NDArray[np.int32]
    """shape (n_cells,): numbered as the smoothed clusters are"""


def smooth_clusters(
    found: Clusters, coordinates: FloatArray, n_nearest: int, *, samples: CellLabels | None = None
) -> Smoothed:
    """Give every cell the most frequent cluster of the cells around it.

    Clusters are numbered again, largest first. Clusters without cells get the last numbers, and a note counts
    them. Extra cuts that nest and are coarser join the smoothed clusters. Finer ones are smoothed separately, and
    no longer nest.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_cells, 2 or 3).
    n_nearest
        Number of nearest cells that decide, without the cell itself.
    samples
        If given, only cells of the same sample are near each other.
    """
    from scrcl.graph.domains import majority_labels

    def smoothed(labels: IntArray) -> NDArray[np.int32]:
        return majority_labels(labels, coordinates, n_nearest, samples=samples)

    labels, n_before = smoothed(found.labels), len(found.cluster_means)
    rank = rank_by_size(np.bincount(labels, minlength=n_before))
    before, n_lost = rank[found.labels], n_before - len(np.unique(labels))
    coarser = {k for k in found.extra_cuts if found.nested[k] and k <= n_before}
    extra_cuts = {
        k: _joined(labels, found.labels, cut) if k in coarser else smoothed(cut)
        for k, cut in found.extra_cuts.items()
    }
    renumbered = _renumbered(found, rank, len(rank) - n_lost)._replace(
        labels=rank[labels],
        extra_cuts={k: rank_by_size(np.bincount(cut))[cut] for k, cut in extra_cuts.items()},
        nested={k: k in coarser for k in found.extra_cuts},
        notes=[
            *found.notes,
            *([_lost_note(n_lost)] if n_lost else []),
            *_cut_notes(extra_cuts, coarser),
        ],
    )
    return Smoothed(renumbered, before)


def _joined(labels: IntArray, before: IntArray, cut: IntArray) -> NDArray[np.int32]:
    """Join smoothed labels in the way that ``cut`` joins the labels before smoothing."""
    cut_of_cluster = np.zeros(int(before.max()) + 1, np.int32)
    cut_of_cluster[before] = cut
    return np.asarray(cut_of_cluster[labels])


def _renumbered(found: Clusters, rank: NDArray[np.int32], n_left: int) -> Clusters:
    """Give cluster i the number ``rank[i]`` everywhere except in the extra cuts, which have their own numbers."""
    tree = found.cluster_tree.copy()
    # Numbers from len(rank) on are merges, not clusters.
    is_leaf = tree[:, :2] < len(rank)
    tree[:, :2][is_leaf] = rank[tree[:, :2][is_leaf].astype(np.int64)]
    return found._replace(
        labels=rank[found.labels],
        cluster_of_micro=rank[found.cluster_of_micro],
        cluster_means=found.cluster_means[np.argsort(rank)],
        cluster_tree=tree,
        levels=None if found.levels is None else _renumbered_levels(found.levels, rank, n_left),
    )


def _renumbered_levels(levels: Levels, rank: NDArray[np.int32], n_left: int) -> Levels:
    """Renumber the clusters that the next merge and the next split name; leave out those that are lost.

    What each cluster is least apart from was measured between clusters that smoothing changed, so that is left out too.
    """

    def renumbered(split: Split | None) -> Split | None:
        if split is None:
            return None
        a, b = (int(rank[cluster]) for cluster in split.clusters)
        return split._replace(clusters=(a, b)) if max(a, b) < n_left else None

    return levels._replace(
        next_merge=renumbered(levels.next_merge),
        next_split=renumbered(levels.next_split),
        partings=(),
    )


def _lost_note(n_lost: int) -> str:
    lost = "1 cluster" if n_lost == 1 else f"{n_lost} clusters"
    return (
        f'Smoothing removed {lost}. obs["scrcl_unrefined"] has the earlier labels; a lower '
        "cluster.refine_labels keeps more clusters."
    )


def _cut_notes(extra_cuts: Mapping[int, IntArray], coarser: Collection[int]) -> list[str]:
    """Return notes on extra cuts that no longer nest after smoothing, or that lost clusters by it."""
    notes = []
    for k, cut in extra_cuts.items():
        n_found = len(np.unique(cut))
        fewer = "" if n_found == k else f" {n_found} of them are left."
        if k not in coarser:
            notes.append(
                f"The {k} clusters of cluster.also were smoothed separately, so they do not nest in the others.{fewer}"
            )
        elif fewer:
            notes.append(
                f"Smoothing removed clusters from the {k} clusters of cluster.also.{fewer}"
            )
    return notes
