"""What a user should know of the clusters of a vote: too many or too few were asked for, or some are rare types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["note_of_divided", "note_of_joined", "note_of_rare", "note_of_whole"]

_MOST_PARTS = 5
"""Clusters, and parts of each, that a note lists."""


def note_of_rare(sizes: IntArray) -> str | None:
    """Return how many clusters are rare types, by their sizes; None for none."""
    if not len(sizes):
        return None
    shown = [f"{size:,}" for size in np.sort(sizes)[::-1][:_MOST_PARTS]]
    last = "fewer" if len(sizes) > _MOST_PARTS else shown.pop()
    of = f"{', '.join(shown)} and {last} cells" if shown else f"{last} cells"
    found = (
        "1 cluster is a rare type" if len(sizes) == 1 else f"{len(sizes)} clusters are rare types"
    )
    return (
        f"{found}, of {of}: most neighbour graphs agree on these cells, and they lie apart. Look at their genes, since "
        "doublets may lie apart too. With `cluster.rare_cells=0` such cells stay in larger clusters."
    )


def note_of_whole(n_supported: int, n_divided: int) -> str | None:
    """Return that auto finds more clusters than the supported ones that were asked for; None if it does not."""
    if n_divided == n_supported:
        return None
    return (
        f"The data supports these {n_supported} clusters, and {n_divided} if large ones are divided once more. Give "
        f"`n_clusters={n_divided}` or auto for the {n_divided}."
    )


def note_of_divided(wanted: int, n_supported: int, n_divided: int) -> str:
    """Return that the data supports fewer clusters than were asked for.

    ``n_divided`` is how many it supports if large clusters are divided once more: more than ``wanted``, or as many as
    ``n_supported``.
    """
    several = n_supported > 1
    supported = f"{n_supported} cluster{'s' if several else ''}"
    nearest = f"`n_clusters={n_supported}`" if several else ""
    also = ""
    if n_divided > n_supported:
        also = f", and {n_divided} if large ones are divided once more"
        nearest += f"{', ' if several else ''}`n_clusters={n_divided}`"
    nearest += " or auto" if nearest else '`n_clusters="auto"`'
    return (
        f"The data supports {supported} by cluster.least_support{also}; {wanted} were asked for. Splits beyond "
        f"{n_supported} are not clear. Give {nearest} for what is supported."
    )


def note_of_joined(
    supported_of_micro: IntArray,
    cluster_of_micro: IntArray,
    micro_sizes: FloatArray,
    *,
    left_whole: bool = False,
) -> str:
    """Return which supported clusters are together in one, by their sizes: they have no names here.

    If large clusters were ``left_whole``, auto may find more clusters than the supported ones.
    """
    n_supported, wanted = int(supported_of_micro.max()) + 1, int(cluster_of_micro.max()) + 1
    sizes = np.bincount(supported_of_micro, micro_sizes).astype(int)
    cluster_of = np.empty(n_supported, np.int64)
    cluster_of[supported_of_micro] = cluster_of_micro
    joined = []
    for cluster in range(wanted):
        parts = np.sort(sizes[cluster_of == cluster])[::-1]
        if len(parts) > 1:
            shown = [f"{size:,}" for size in parts[:_MOST_PARTS]]
            n_more = len(parts) - _MOST_PARTS
            last = f"{n_more:,} smaller ones" if n_more > 0 else shown.pop()
            joined.append((int(parts.sum()), f"{', '.join(shown)} and {last}"))
    joined.sort(key=lambda each: -each[0])
    listed = "; ".join(f"{parts} cells ({total:,} in all)" for total, parts in joined[:_MOST_PARTS])
    more = "; ..." if len(joined) > _MOST_PARTS else ""
    asked = f"{wanted} {'was' if wanted == 1 else 'were'} asked for"
    before = " before large ones are divided once more" if left_whole else ""
    auto = (
        " for these, or auto, which also divides large ones"
        if left_whole
        else " or auto for what is supported"
    )
    return (
        f"The data supports {n_supported} clusters by cluster.least_support{before}; {asked}. Joined are clusters of "
        f"{listed}{more}. Give `n_clusters={n_supported}`{auto}."
    )
