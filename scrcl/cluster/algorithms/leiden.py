"""Communities of the neighbour graph of the points, at the resolution that gives K of them.

The number of communities grows with the resolution, but not at every step, so the resolution is bracketed,
then bisected on a log scale until K is met or there is nothing left between both ends. Communities smaller than
``cluster.smallest_cells`` are not counted; their cells go to the nearest centroid of the others.

References
----------
Traag, Waltman, van Eck: From Louvain to Leiden, Scientific Reports 9 (2019), 5233.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.communities import leiden_of, neighbour_graph
from scrcl.cluster.inside import groups_inside
from scrcl.cluster.protocol import Grouping

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterConfig
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_leiden", "resolve"]

MOST_STEPS = 24
"""Resolutions tried in all."""

LOWEST, HIGHEST, NEAREST = 1e-4, 1e4, 1.001
"""Ends of the search, and the ratio of both sides at which it ends."""


class Resolved(NamedTuple):
    """The communities nearest in number to what was asked for, and their resolution."""

    labels: NDArray[np.int64]
    n_found: int
    resolution: float


def by_leiden(spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int) -> Grouping:
    """Find communities of at most ``cluster.auto_cells`` cells; others go to the nearest micro-cluster of these."""
    points = spaces.points
    cells = drawn_rows(len(points), config.auto_cells, seed, "cluster.leiden.cells")
    sample = np.ascontiguousarray(points[cells], np.float32)
    graph = neighbour_graph(sample, spaces.n_neighbors, seed)
    smallest = config.smallest_of(len(cells), len(points))
    smallest = min(smallest, max(len(cells) // n_clusters, 1))
    found = resolve(leiden_of(graph, seed=seed, name="cluster.leiden"), n_clusters, smallest)
    labels = _without_small(sample, found.labels, smallest)
    groups, centres, owners = groups_inside(sample, labels, config.n_micro, seed=seed)
    return Grouping(
        _of_all(points, cells, groups, centres),
        centres,
        owners,
        config.size_power,
        spreads=True,
        note=_note(n_clusters, int(labels.max()) + 1, found.resolution),
    )


def resolve(
    communities: Callable[[float], NDArray[np.int64]], n_clusters: int, smallest: int
) -> Resolved:
    """Search the resolution that gives ``n_clusters`` communities of at least ``smallest`` nodes.

    Of two numbers that miss it by as much the larger is taken.
    """
    low, high, resolution = 0.0, np.inf, 1.0
    tried: list[Resolved] = []
    while len(tried) < MOST_STEPS and LOWEST <= resolution <= HIGHEST:
        labels = communities(resolution)
        n_found = int((np.bincount(labels) >= smallest).sum())
        tried.append(Resolved(labels, n_found, resolution))
        if n_found == n_clusters or high <= NEAREST * low:
            break
        if 0 < n_found < n_clusters:
            low = resolution
        else:  # none at all: every community is too small
            high = resolution
        resolution = _between(low, high)
    return min(tried, key=lambda one: (abs(one.n_found - n_clusters), -one.n_found))


def _between(low: float, high: float) -> float:
    if low == 0:
        return high / 2
    return 2 * low if np.isinf(high) else float(np.sqrt(low * high))


def _without_small(points: FloatArray, labels: IntArray, smallest: int) -> NDArray[np.int64]:
    """Give the points of communities smaller than ``smallest`` (or than all) to the nearest centroid of the others."""
    from scrcl.cluster.agglomerate import summarise
    from scrcl.graph.kmeans import assign

    sizes = np.bincount(labels)
    fair = np.flatnonzero(sizes >= min(smallest, sizes.max()))
    renamed = np.full(int(labels.max()) + 1, -1)
    renamed[fair] = np.arange(len(fair))
    kept = renamed[labels]
    strays = np.flatnonzero(kept < 0)
    if len(strays):
        centroids = summarise(points, labels).centroids[fair].astype(np.float32)
        kept[strays] = assign(points[strays], centroids)
    return kept


def _of_all(
    points: FloatArray, cells: IntArray, groups: NDArray[np.int32], centres: FloatArray
) -> NDArray[np.int32]:
    """Return the group of every cell: its own where it was looked at, or that of the nearest centre."""
    from scrcl.graph.kmeans import assign

    if len(cells) == len(points):
        return groups
    nearest = assign(points, centres)
    nearest[cells] = groups
    return nearest


def _note(n_clusters: int, n_found: int, resolution: float) -> str | None:
    if n_found == n_clusters:
        return None
    return (
        f"Leiden found no resolution with {n_clusters} communities; {n_found} are there at "
        f"{resolution:.3g}. Ask for another number, or take cluster.method = linkage."
    )
