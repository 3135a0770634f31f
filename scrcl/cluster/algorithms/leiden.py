"""Communities of the neighbour graph of the points, at the resolution that gives K of them.

The number of communities grows with the resolution, but not at every step. So the resolution is bracketed, then
bisected on a log scale until there are K communities or the bracket is too narrow. Communities smaller than
``cluster.smallest_cells`` do not count; their cells get the nearest cluster mean of the others.

References
----------
Traag, Waltman, van Eck: From Louvain to Leiden: guaranteeing well-connected communities, Scientific Reports 9 (2019),
5233.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.micro import micro_clusters_inside, summarise
from scrcl.cluster.protocol import Grouping
from scrcl.graph.communities import leiden_of, neighbour_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["Resolved", "by_leiden", "of_all_cells", "resolve"]

_MOST_STEPS = 24
"""Resolutions that are tried at most."""

_LOWEST, _HIGHEST = 1e-4, 1e4
"""Bounds of the search."""

_NARROWEST = 1.001
"""Ratio of the bracket's ends at which the search stops."""


class Resolved(NamedTuple):
    """The communities whose number is nearest to the one asked for."""

    labels: NDArray[np.int64]
    """shape (n_points,)"""
    n_found: int
    """number of communities that are large enough"""
    resolution: float


def by_leiden(spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int) -> Grouping:
    """Find communities of at most ``cluster.auto_cells`` cells. Other cells get their nearest micro-cluster."""
    points = spaces.points
    cells = drawn_rows(len(points), settings.auto_cells, seed, "cluster.leiden.cells")
    subset = np.ascontiguousarray(points[cells], np.float32)
    graph = neighbour_graph(subset, spaces.n_neighbors, seed)
    smallest = settings.smallest_in_subset(len(cells), len(points))
    # K clusters cannot all be larger than the mean.
    smallest = min(smallest, max(len(cells) // n_clusters, 1))
    found = resolve(leiden_of(graph, seed=seed, name="cluster.leiden"), n_clusters, smallest)
    labels = _without_small(subset, found.labels, smallest)
    micro_labels, micro_means, cluster_of_micro = micro_clusters_inside(
        subset, labels, settings.n_micro, seed=seed, device=spaces.device
    )
    return Grouping(
        of_all_cells(points, cells, micro_labels, micro_means),
        micro_means,
        cluster_of_micro,
        MergeCost(settings.size_power),
        note=_note(n_clusters, int(labels.max()) + 1, found.resolution),
    )


def resolve(
    communities: Callable[[float], NDArray[np.int64]], n_clusters: int, smallest: int
) -> Resolved:
    """Search the resolution that gives ``n_clusters`` communities of at least ``smallest`` nodes.

    If no resolution does, the nearest number is taken, and the larger of two that are equally near.
    """
    low, high, resolution = 0.0, np.inf, 1.0
    tried: list[Resolved] = []
    while len(tried) < _MOST_STEPS and _LOWEST <= resolution <= _HIGHEST:
        labels = communities(resolution)
        n_found = int((np.bincount(labels) >= smallest).sum())
        tried.append(Resolved(labels, n_found, resolution))
        if n_found == n_clusters or high <= _NARROWEST * low:
            break
        if 0 < n_found < n_clusters:
            low = resolution
        else:  # zero: every community is too small, so this resolution is too high, too
            high = resolution
        resolution = _between(low, high)
    return min(tried, key=lambda one: (abs(one.n_found - n_clusters), -one.n_found))


def _between(low: float, high: float) -> float:
    if low == 0:
        return high / 2
    return 2 * low if np.isinf(high) else float(np.sqrt(low * high))


def _without_small(points: FloatArray, labels: IntArray, smallest: int) -> NDArray[np.int64]:
    """Move the points of communities below ``smallest`` to the nearest mean of the others.

    If all communities are below it, the largest ones stay.
    """
    from scrcl.graph.kmeans import assign

    sizes = np.bincount(labels)
    large = np.flatnonzero(sizes >= min(smallest, sizes.max()))
    renamed = np.full(int(labels.max()) + 1, -1)
    renamed[large] = np.arange(len(large))
    kept = renamed[labels]
    strays = np.flatnonzero(kept < 0)
    if len(strays):
        means = summarise(points, labels).means[large].astype(np.float32)
        kept[strays] = assign(points[strays], means)
    return kept


def of_all_cells(
    points: FloatArray,
    cells: IntArray,
    micro_labels: NDArray[np.int32],
    micro_means: FloatArray,
    takes_others: BoolArray | None = None,
) -> NDArray[np.int32]:
    """Return the micro-cluster of every cell: its own in the subset, the nearest mean for others.

    Parameters
    ----------
    takes_others
        ndarray of bool, shape (n_micro,): whether cells outside of the subset may be in a micro-cluster. None: in any.
    """
    from scrcl.graph.kmeans import assign

    if len(cells) == len(points):
        return micro_labels
    taking = np.arange(len(micro_means)) if takes_others is None else np.flatnonzero(takes_others)
    nearest = taking[assign(points, micro_means[taking])].astype(np.int32)
    nearest[cells] = micro_labels
    return nearest


def _note(n_clusters: int, n_found: int, resolution: float) -> str | None:
    if n_found == n_clusters:
        return None
    return (
        f"Leiden found no resolution with {n_clusters} communities; it found {n_found} at resolution "
        f'{resolution:.3g}. Ask for another number, or give `cluster.algorithm="linkage"`.'
    )
