"""From an embedding to K clusters.

A further way is a function and its line in `_METHODS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.engine.config import ClusterConfig
    from scrcl.graph.kmeans import KMeans
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Clusters", "cluster", "find_clusters"]

_Micro: TypeAlias = "tuple[IntArray, NDArray[np.float32], IntArray]"
"""Group of each cell, centre of each group, and cluster of each group."""


class Clusters(NamedTuple):
    """A clustering, and what a further point is assigned by: the cluster of the nearest centre."""

    labels: NDArray[np.int32]
    """shape (n_cells,)"""
    centres: NDArray[np.float32]
    """shape (n_centres, n_dims): those of micro-clusters, or of the clusters themselves"""
    owners: NDArray[np.int32]
    """shape (n_centres,): the cluster of each"""


def cluster(points: FloatArray, n_clusters: int, *, config: ClusterConfig, seed: int) -> IntArray:
    """Return the labels alone of `find_clusters`."""
    return find_clusters(points, n_clusters, config=config, seed=seed).labels


def find_clusters(
    points: FloatArray, n_clusters: int, *, config: ClusterConfig, seed: int
) -> Clusters:
    """Cluster the rows of ``points``, float32 of shape (n_cells, n_dims), into ``n_clusters``.

    Returns
    -------
    Clusters
        0 .. n_clusters - 1, largest cluster first. Memory grows by that of `kmeans`.

    Raises
    ------
    InputError
        There are fewer cells than clusters.
    """
    micro, centres, merged = _METHODS[config.method](points, n_clusters, config, seed)
    rank = _ranks(merged[micro])
    return Clusters(rank[merged[micro]], centres, rank[merged])


def _by_kmeans(points: FloatArray, k: int, config: ClusterConfig, seed: int) -> _Micro:
    del config
    from scrcl.graph.kmeans import kmeans

    found, micro, centres = _without_empty(kmeans(points, k, seed=seed, n_init=10))
    return micro, centres, np.arange(len(found))


def _by_linkage(points: FloatArray, k: int, config: ClusterConfig, seed: int) -> _Micro:
    from scrcl.engine.agglomerate import agglomerate, summarise
    from scrcl.graph.kmeans import kmeans

    # A quarter of the cells at most: smaller groups say nothing of their spread.
    n_micro = max(min(max(config.n_micro, 3 * k), len(points) // 4), k)
    found, micro, centres = _without_empty(
        kmeans(points, n_micro, seed=seed, n_init=1, n_iter=15, max_points_per_centroid=256)
    )
    merged = agglomerate(
        summarise(points, micro),
        min(k, len(found)),
        size_power=config.size_power,
        smallest=config.smallest_cells,
    )
    return micro, centres, merged


def _without_empty(found: KMeans) -> tuple[IntArray, IntArray, NDArray[np.float32]]:
    """Return the names of the groups that have cells, the cells' groups renamed, and their centres."""
    names, micro = np.unique(found.labels, return_inverse=True)
    return names, micro, found.centroids[names]


_METHODS = {"kmeans": _by_kmeans, "linkage": _by_linkage}


def _ranks(labels: IntArray) -> NDArray[np.int32]:
    """Return the place of each cluster by size, from labels 0, 1, ... of which none is empty: int32.

    Ties keep their order.
    """
    sizes = np.bincount(labels)
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes), dtype=np.int32)
    return rank
