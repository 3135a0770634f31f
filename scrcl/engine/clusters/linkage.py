"""k-means to micro-clusters, merged to K by average linkage damped by size, or by Ward's cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.clusters.agglomerate import agglomerate, summarise
from scrcl.engine.clusters.kmeans import without_empty
from scrcl.engine.clusters.protocol import Grouping

if TYPE_CHECKING:
    from scrcl.engine.clusters.protocol import Spaces
    from scrcl.engine.config import ClusterConfig

__all__ = ["by_linkage", "merged"]


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
    """Cut the points into micro-clusters, and the tree of these into clusters.

    They are a quarter of the cells at most: smaller groups say nothing of their spread.
    """
    from scrcl.graph.kmeans import kmeans

    points = spaces.points
    n_micro = max(min(max(config.n_micro, 3 * n_clusters), len(points) // 4), n_clusters)
    found = without_empty(
        kmeans(points, n_micro, seed=seed, n_init=1, n_iter=15, max_points_per_centroid=256)
    )
    summary = summarise(points, found.labels)
    owners = agglomerate(
        summary,
        min(n_clusters, len(found.centroids)),
        size_power=size_power,
        spreads=spreads,
        smallest=config.smallest_cells,
    )
    return Grouping(found.labels, found.centroids, owners, size_power, spreads, summary)
