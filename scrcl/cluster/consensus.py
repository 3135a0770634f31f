"""One clustering out of several: cells belong together that most of the clusterings put together.

Where micro-clusters begin is chance, and merges high in a tree may hang on it. Each clustering is a view: a cell is
a one-hot vector there, and over all views the mean squared distance between the cells of two groups is the share of
views that part them. Average linkage of that is evidence accumulation (Fred and Jain, IEEE TPAMI 27(6), 2005), on
groups of cells and not on pairs of cells, so in linear time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.agglomerate import MicroClusters, agglomerate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["agreed", "parted"]


def agreed(
    groups: IntArray,
    views: Iterable[IntArray],
    n_clusters: int,
    *,
    smallest: int,
    sizes: FloatArray | None = None,
) -> NDArray[np.int32]:
    """Merge groups of cells to ``n_clusters``, first those that the fewest views part.

    Parameters
    ----------
    groups
        ndarray of int, shape (n_cells,): 0 .. n_groups - 1, none empty.
    views
        Clusterings of the same cells, shape (n_cells,) each; read one at a time.
    smallest
        Cells of the smallest cluster, where the tree allows it.
    sizes
        Shape (n_groups,): cells of each group, where those that are given are a sample with cells of every group.

    Returns
    -------
    ndarray of int32, shape (n_groups,)
        0 .. n_clusters - 1.
    """
    found = parted(groups, views)
    if sizes is not None:
        found = replace(found, sizes=np.asarray(sizes, np.float64))
    return agglomerate(found, n_clusters, size_power=0, smallest=smallest)


def parted(groups: IntArray, views: Iterable[IntArray]) -> MicroClusters:
    """Sum up groups in the space of all views, where squared distance is the share of views that part two cells."""
    sizes = np.bincount(groups).astype(np.float64)
    shares = [_shares(groups, labels, sizes) for labels in views]
    spreads = sum(1 - (share**2).sum(axis=1) for share in shares) / (2 * len(shares))
    return MicroClusters(
        np.concatenate(shares, axis=1) / np.sqrt(2 * len(shares)), sizes, np.maximum(spreads, 0)
    )


def _shares(groups: IntArray, labels: IntArray, sizes: FloatArray) -> FloatArray:
    """Return the share of each group's cells in each cluster: shape (n_groups, n_clusters)."""
    n_groups, n_labels = len(sizes), int(labels.max()) + 1
    flat = groups.astype(np.int64) * n_labels + labels
    counts = np.bincount(flat, minlength=n_groups * n_labels).reshape(n_groups, n_labels)
    return np.asarray(counts / sizes[:, None])
