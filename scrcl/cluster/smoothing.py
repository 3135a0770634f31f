"""Smooth the labels of a tissue: every cell gets the cluster of most cells around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.find import rank_by_size

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from scrcl.cluster.find import Clusters
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Smoothed", "smooth_clusters"]


class Smoothed(NamedTuple):
    """Clusters after smoothing, and the labels before it under the same names."""

    clusters: Clusters
    before: NDArray[np.int32]


def smooth_clusters(
    found: Clusters, coordinates: FloatArray, n_nearest: int, *, samples: CellLabels | None = None
) -> Smoothed:
    from scrcl.graph.domains import majority_labels

    def voted(labels: IntArray) -> NDArray[np.int32]:
        return majority_labels(labels, coordinates, n_nearest, samples=samples)

    labels, n_before = voted(found.labels), len(found.centroids)
    rank = rank_by_size(np.bincount(labels, minlength=n_before))
    before, lost = rank[found.labels], n_before - len(np.unique(labels))
    coarser = {k: cut for k, cut in found.also.items() if found.nested[k] and k <= n_before}
    also = {
        k: _joined(labels, found.labels, cut) if k in coarser else voted(cut)
        for k, cut in found.also.items()
    }
    renamed = _renamed(found, rank)._replace(
        labels=rank[labels],
        also={k: rank_by_size(np.bincount(cut))[cut] for k, cut in also.items()},
        nested={k: k in coarser for k in found.also},
        notes=[*found.notes, *([_lost(lost)] if lost else []), *_of_cuts(also, coarser)],
    )
    return Smoothed(renamed, before)


def _joined(labels: IntArray, before: IntArray, cut: IntArray) -> NDArray[np.int32]:
    """Join refined labels as ``cut`` joins the clusters before."""
    owners = np.zeros(int(before.max()) + 1, np.int32)
    owners[before] = cut
    return np.asarray(owners[labels])


def _renamed(found: Clusters, rank: NDArray[np.int32]) -> Clusters:
    """Give cluster i the name ``rank[i]`` in all but the further clusterings, which have names of their own."""
    tree = found.tree.copy()
    leaves = tree[:, :2] < len(rank)
    tree[:, :2][leaves] = rank[tree[:, :2][leaves].astype(np.int64)]
    return found._replace(
        labels=rank[found.labels],
        owners=rank[found.owners],
        centroids=found.centroids[np.argsort(rank)],
        tree=tree,
    )


def _lost(n_lost: int) -> str:
    return (
        f"{n_lost} clusters went into those around when labels were refined (obs scrcl_unrefined has them; a "
        "lower cluster.refine_labels keeps more)."
    )


def _of_cuts(also: Mapping[int, IntArray], coarser: Collection[int]) -> list[str]:
    """Return what the user should know of refined clusterings into other numbers."""
    notes = []
    for k, cut in also.items():
        n_found = len(np.unique(cut))
        fewer = "" if n_found == k else f"; {n_found} are left"
        if k not in coarser:
            notes.append(
                f"The {k} clusters of cluster.also were refined by themselves and are no parts of the others{fewer}."
            )
        elif fewer:
            notes.append(f"Of the {k} clusters of cluster.also some have no spot any more{fewer}.")
    return notes
