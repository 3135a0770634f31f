"""k-means with K means, by squared distance or, with ``cluster.spherical``, by direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.agglomerate import WARD
from scrcl.cluster.protocol import Grouping
from scrcl.io.arrays import row_blocks

if TYPE_CHECKING:
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import FloatArray

__all__ = ["by_kmeans"]

_BLOCK_ROWS = 65_536


def by_kmeans(spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int) -> Grouping:
    """Return the best of ``cluster.n_init`` runs of k-means, each with its own k-means++ start.

    The clusters are their own micro-clusters, and their tree is Ward's.
    """
    from scrcl.graph.kmeans import kmeans

    found = kmeans(
        spaces.points,
        n_clusters,
        seed=seed,
        n_init=settings.n_init,
        spherical=settings.spherical,
        device=spaces.device,
    ).without_empty()
    means = found.centroids
    if settings.spherical:
        # Means of spherical k-means have length 1. At the mean length of the points, the mean nearest in
        # distance is the one nearest in direction, so new cells are assigned correctly.
        means = (means * _mean_length(spaces.points)).astype(np.float32)
    cluster_of_micro = np.arange(len(means), dtype=np.int32)
    return Grouping(found.labels, means, cluster_of_micro, WARD)


def _mean_length(points: FloatArray) -> float:
    lengths = (
        np.linalg.norm(np.asarray(points[start:stop], np.float64), axis=1).sum()
        for start, stop in row_blocks(len(points), _BLOCK_ROWS)
    )
    return float(sum(lengths) / len(points))
