"""How firmly partitions of the same cells keep clusters apart.

A valley is measured along one axis. A cut through a broad type may show one by chance, or at the border of two states
that run into each other. Communities of many graphs at many resolutions rarely agree on such a cut.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["KeptApart"]

_LEAST_TOGETHER = 0.01
"""Share of pairs of cells that counts as none."""


class KeptApart:
    """Which communities the cells of each cluster are in, by partition.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_cells,): the cluster of each cell, from 0.
    partitions
        ndarrays of int, shape (n_cells,): the community of each cell in each partition, from 0.
    """

    def __init__(self, labels: IntArray, partitions: Sequence[IntArray]) -> None:
        n_clusters = int(labels.max()) + 1
        self._counts = [_cells_by_both(labels, n_clusters, each) for each in partitions]

    def degree(self, a: int, b: int) -> float:
        """Return how firmly two clusters are kept apart: 0 if they are always together, and 1 if never.

        The share of pairs, one cell of each cluster, that are in one community is averaged over the partitions as a
        logarithm. So one in ten is a half, and one in a hundred or fewer is nearly 1. It is 1 without partitions.
        """
        together = [
            float(counts[a] @ counts[b] / (counts[a].sum() * counts[b].sum()))
            for counts in self._counts
        ]
        if not together:
            return 1.0
        logs = np.log(np.minimum(np.array(together) + _LEAST_TOGETHER, 1))
        return float(logs.mean() / math.log(_LEAST_TOGETHER))

    def merge(self, a: int, b: int) -> None:
        """Give the cells of ``b`` to ``a``."""
        for counts in self._counts:
            counts[a] += counts[b]


def _cells_by_both(labels: IntArray, n_clusters: int, partition: IntArray) -> NDArray[np.float64]:
    """Return how many cells are in each cluster and each community: shape (n_clusters, n_communities)."""
    n_communities = int(partition.max()) + 1
    pairs = labels * n_communities + partition
    counts = np.bincount(pairs, minlength=n_clusters * n_communities)
    return counts.reshape(n_clusters, n_communities).astype(np.float64)
