"""From an embedding to K clusters.

A further way is a function and its line in `_METHODS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.engine.config import ClusterConfig
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_size", "cluster"]


def cluster(points: FloatArray, n_clusters: int, *, config: ClusterConfig, seed: int) -> IntArray:
    """Cluster the rows of ``points``, float32 of shape (n_cells, n_dims), into ``n_clusters``.

    Returns
    -------
    ndarray of int32, shape (n_cells,)
        0 .. n_clusters - 1, largest cluster first. Memory grows by that of `kmeans`.

    Raises
    ------
    InputError
        There are fewer cells than clusters.
    """
    return by_size(_METHODS[config.method](points, n_clusters, config, seed))


def _by_kmeans(points: FloatArray, k: int, config: ClusterConfig, seed: int) -> IntArray:
    del config
    from scrcl.graph.kmeans import kmeans

    return kmeans(points, k, seed=seed, n_init=10).labels


def _by_linkage(points: FloatArray, k: int, config: ClusterConfig, seed: int) -> IntArray:
    from scrcl.engine.agglomerate import agglomerate, summarise
    from scrcl.graph.kmeans import kmeans

    # A quarter of the cells at most: smaller groups say nothing of their spread.
    n_micro = max(min(max(config.n_micro, 3 * k), len(points) // 4), k)
    nearest = kmeans(
        points, n_micro, seed=seed, n_init=1, n_iter=15, max_points_per_centroid=256
    ).labels
    found, micro = np.unique(nearest, return_inverse=True)
    groups = summarise(points, micro)
    merged = agglomerate(
        groups,
        min(k, len(found)),
        size_power=config.size_power,
        smallest=config.smallest_cells,
    )
    return merged[micro]


_METHODS = {"kmeans": _by_kmeans, "linkage": _by_linkage}


def by_size(labels: IntArray) -> IntArray:
    """Rename clusters so that 0 is the largest; ties keep their order. No name stays empty."""
    names, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names), dtype=np.int32)
    return rank[inverse]
