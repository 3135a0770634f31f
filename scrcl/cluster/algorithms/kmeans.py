"""K centroids, by squared distance or, where ``cluster.spherical``, by direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.protocol import Grouping
from scrcl.io.arrays import row_blocks

if TYPE_CHECKING:
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterConfig
    from scrcl.graph.kmeans import KMeans
    from scrcl.typing import FloatArray

__all__ = ["by_kmeans", "without_empty"]

_BLOCK_ROWS = 65_536


def by_kmeans(spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int) -> Grouping:
    """Take the best of ``cluster.n_init`` runs, each from k-means++ seeds of its own; the tree is Ward's.

    Centres of spherical k-means are directions; they are given the mean length of the points, so that the
    nearest centre in distance is the nearest in direction.
    """
    from scrcl.graph.kmeans import kmeans

    found = without_empty(
        kmeans(
            spaces.points, n_clusters, seed=seed, n_init=config.n_init, spherical=config.spherical
        )
    )
    centres = found.centroids
    if config.spherical:
        centres = (centres * _mean_length(spaces.points)).astype(np.float32)
    owners = np.arange(len(centres), dtype=np.int32)
    return Grouping(found.labels, centres, owners, size_power=1.0, spreads=False)


def without_empty(found: KMeans) -> KMeans:
    """Return the clustering without the centroids that have no points."""
    names, labels = np.unique(found.labels, return_inverse=True)
    return found._replace(labels=labels.astype(np.int32), centroids=found.centroids[names])


def _mean_length(points: FloatArray) -> float:
    lengths = (
        np.linalg.norm(np.asarray(points[start:stop], np.float64), axis=1).sum()
        for start, stop in row_blocks(len(points), _BLOCK_ROWS)
    )
    return float(sum(lengths) / len(points))
