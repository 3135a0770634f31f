"""k-means to micro-clusters, merged to K by average linkage damped by size, or by Ward's cost.

The result depends on where k-means starts, which is chance. So it is repeated from several starts
(``cluster.restarts``), and the labels are the consensus of these clusterings (`scrcl.cluster.consensus`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, drawn_rows
from scrcl.cluster.agglomerate import MergeCost, agglomerate
from scrcl.cluster.consensus import consensus
from scrcl.cluster.micro import summarise
from scrcl.cluster.protocol import Grouping
from scrcl.graph.kmeans import kmeans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scrcl.cluster.micro import MicroClusters
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.graph.kmeans import KMeans
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_linkage", "merge_micro_clusters", "view_cells"]

VIEW_CELLS = 100_000
"""Cells of each further clustering. That is some hundred cells for each micro-cluster, enough to estimate its share
in each cluster, which is all that the consensus reads."""

_VIEW_CELLS_PER_MEAN = 64
"""Most cells that train a micro-cluster mean of a further clustering. Training takes most of the time at a million
cells, and these means are used only once."""

_FIRST_CELLS_PER_MEAN = 256
"""Most cells that train a mean of the first clustering, whose micro-clusters are kept."""


def by_linkage(
    spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int
) -> Grouping:
    """Merge at least ``cluster.n_micro`` micro-clusters, at a cost damped by ``cluster.size_power``."""
    return merge_micro_clusters(
        spaces,
        n_clusters,
        settings=settings,
        seed=seed,
        cost=MergeCost(settings.size_power),
    )


def merge_micro_clusters(
    spaces: Spaces,
    n_clusters: int,
    *,
    settings: ClusterSettings,
    seed: int,
    cost: MergeCost,
) -> Grouping:
    """Return the consensus of several clusterings, each by k-means to micro-clusters and a merge tree of them.

    The micro-clusters in the result are those of the first clustering.
    """
    points, n_cells = spaces.points, len(spaces.points)
    n_micro = settings.n_micro_clusters(n_cells, n_clusters)

    def once(
        points: FloatArray, seed: int, cells_per_mean: int
    ) -> tuple[KMeans, MicroClusters, NDArray[np.int32]]:
        found = kmeans(
            points,
            n_micro,
            seed=seed,
            n_init=1,
            n_iter=15,
            max_points_per_centroid=cells_per_mean,
            device=spaces.device,
        ).without_empty()
        summary = summarise(points, found.labels)
        cluster_of_micro = agglomerate(
            summary,
            min(n_clusters, len(found.centroids)),
            cost=cost,
            smallest=settings.smallest_in_subset(len(points), n_cells),
        )
        return found, summary, cluster_of_micro

    first, summary, cluster_of_micro = once(points, seed, _FIRST_CELLS_PER_MEAN)
    if settings.restarts > 1:
        cells = view_cells(first.labels, VIEW_CELLS, seed, "cluster.views")
        subset = points if len(cells) == len(points) else np.asarray(points[cells])
        micro_labels = first.labels[cells]

        # A generator, so that only one further clustering is in memory at a time.
        def views() -> Iterator[IntArray]:
            yield cluster_of_micro[micro_labels]
            for restart in range(1, settings.restarts):
                again, _, clusters = once(
                    subset, derive_seed(seed, "cluster.restart", restart), _VIEW_CELLS_PER_MEAN
                )
                yield clusters[again.labels]

        cluster_of_micro = consensus(
            micro_labels,
            views(),
            min(n_clusters, len(first.centroids)),
            smallest=settings.smallest_cells,
            sizes=summary.sizes,
        )
    return Grouping(first.labels, first.centroids, cluster_of_micro, cost, summary)


def view_cells(micro_labels: IntArray, n_most: int, seed: int, name: str) -> IntArray:
    """Return cells for further clusterings, in ascending order: a random subset, and a cell of each micro-cluster."""
    drawn = drawn_rows(len(micro_labels), n_most, seed, name)
    return np.union1d(drawn, np.unique(micro_labels, return_index=True)[1])
