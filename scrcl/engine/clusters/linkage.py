"""k-means to micro-clusters, merged to K by average linkage damped by size, or by Ward's cost.

Both depend on where k-means began, so it begins several times (``cluster.restarts``), and cells end together that were
so most often (`scrcl.engine.clusters.consensus`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._random import derive_seed
from scrcl.engine.clusters.agglomerate import agglomerate, summarise
from scrcl.engine.clusters.consensus import agreed
from scrcl.engine.clusters.kmeans import without_empty
from scrcl.engine.clusters.protocol import Grouping
from scrcl.graph.kmeans import kmeans

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from scrcl.engine.clusters.agglomerate import MicroClusters
    from scrcl.engine.clusters.protocol import Spaces
    from scrcl.engine.config import ClusterConfig
    from scrcl.graph.kmeans import KMeans
    from scrcl.typing import IntArray

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
    """Cut the points into micro-clusters, and the tree of these into clusters; reconcile several such clusterings.

    Micro-clusters are a quarter of the cells at most: smaller groups say nothing of their spread. Those of the first
    clustering are the groups that are returned.
    """
    points = spaces.points
    n_micro = max(min(max(config.n_micro, 3 * n_clusters), len(points) // 4), n_clusters)

    def once(seed: int) -> tuple[KMeans, MicroClusters, NDArray[np.int32]]:
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
        return found, summary, owners

    first, summary, owners = once(seed)
    if config.restarts > 1:

        def views() -> Iterator[IntArray]:
            yield owners[first.labels]
            for restart in range(1, config.restarts):
                again, _, merged = once(derive_seed(seed, "cluster.restart", restart))
                yield merged[again.labels]

        n_found = min(n_clusters, len(first.centroids))
        owners = agreed(first.labels, views(), n_found, smallest=config.smallest_cells)
    return Grouping(first.labels, first.centroids, owners, size_power, spreads, summary)
