"""k-means to micro-clusters, merged to K by average linkage damped by size, or by Ward's cost.

Both depend on where k-means began, so it begins several times (``cluster.restarts``), and cells end together that were
so most often (`scrcl.cluster.consensus`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, drawn_rows
from scrcl.cluster.agglomerate import agglomerate, summarise
from scrcl.cluster.algorithms.kmeans import without_empty
from scrcl.cluster.consensus import agreed
from scrcl.cluster.protocol import Grouping
from scrcl.graph.kmeans import kmeans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import MicroClusters
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterConfig
    from scrcl.graph.kmeans import KMeans
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_linkage", "merged", "viewed"]

VIEW_CELLS = 100_000
"""Cells of each further clustering: some hundreds for a group, whose share in each cluster is all that is asked."""
VIEW_CELLS_OF_GROUP = 64
"""Cells that a centroid of theirs is trained by, at most; training takes longer than all else at a million cells."""


def by_linkage(spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int) -> Grouping:
    """Merge at least ``cluster.n_micro`` micro-clusters at the cost that ``cluster.size_power`` says."""
    return merged(
        spaces, n_clusters, config=config, seed=seed, size_power=config.size_power, spreads=True
    )


def merged(
    spaces: Spaces,
    n_clusters: int,
    *,
    config: ClusterConfig,
    seed: int,
    size_power: float,
    spreads: bool,
) -> Grouping:
    """Cut the points into micro-clusters, and the tree of these into clusters; reconcile several such clusterings.

    The micro-clusters of the first clustering are the groups that are returned.
    """
    points, n_cells = spaces.points, len(spaces.points)
    n_micro = config.n_groups(n_cells, n_clusters)

    def once(
        points: FloatArray, seed: int, trained_by: int
    ) -> tuple[KMeans, MicroClusters, NDArray[np.int32]]:
        found = without_empty(
            kmeans(
                points, n_micro, seed=seed, n_init=1, n_iter=15, max_points_per_centroid=trained_by
            )
        )
        summary = summarise(points, found.labels)
        owners = agglomerate(
            summary,
            min(n_clusters, len(found.centroids)),
            size_power=size_power,
            spreads=spreads,
            smallest=config.smallest_of(len(points), n_cells),
        )
        return found, summary, owners

    first, summary, owners = once(points, seed, 256)
    if config.restarts > 1:
        cells = viewed(first.labels, VIEW_CELLS, seed, "cluster.views")
        some = points if len(cells) == len(points) else np.asarray(points[cells])
        groups = first.labels[cells]

        def views() -> Iterator[IntArray]:
            yield owners[groups]
            for restart in range(1, config.restarts):
                again, _, merged = once(
                    some, derive_seed(seed, "cluster.restart", restart), VIEW_CELLS_OF_GROUP
                )
                yield merged[again.labels]

        owners = agreed(
            groups,
            views(),
            min(n_clusters, len(first.centroids)),
            smallest=config.smallest_cells,
            sizes=summary.sizes,
        )
    return Grouping(first.labels, first.centroids, owners, size_power, spreads, summary)


def viewed(groups: IntArray, n_most: int, seed: int, name: str) -> IntArray:
    """Return the cells that further clusterings are of, ascending: a sample, and a cell of each group."""
    drawn = drawn_rows(len(groups), n_most, seed, name)
    return np.union1d(drawn, np.unique(groups, return_index=True)[1])
