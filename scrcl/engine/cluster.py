"""From an embedding to clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.engine.config import ClusterConfig
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Clusters", "by_size", "cluster"]


@dataclass(frozen=True)
class Clusters:
    """Labels of all cells, and how their number was chosen.

    Attributes
    ----------
    labels
        ndarray of int32, shape (n_cells,): 0 .. n_clusters - 1, largest cluster first.
    chosen_by
        ``"given"``, or the rule that chose the number of clusters.
    """

    labels: IntArray
    chosen_by: str


def cluster(
    points: FloatArray, n_clusters: int | str, *, config: ClusterConfig, seed: int
) -> Clusters:
    """Cluster the rows of ``points``, shape (n_cells, n_dims)."""
    from scrcl.graph.kmeans import kmeans

    if n_clusters == "auto":
        n_clusters = 8
    found = kmeans(points, int(n_clusters), seed=seed, n_init=10)
    return Clusters(by_size(found.labels), "given")


def by_size(labels: IntArray) -> IntArray:
    """Rename clusters so that 0 is the largest; ties keep their order. No name stays empty."""
    names, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names), dtype=np.int32)
    return rank[inverse]
