"""The consensus of several clusterings: cells are joined if most clusterings join them.

Where micro-clusters begin is chance, and high merges of a tree may depend on it. Each clustering is therefore seen as
a view, in which a cell is a one-hot vector. Over all views, the mean squared distance between the cells of two groups
is the share of views that separate them. Average linkage of that distance is evidence accumulation, here on
micro-clusters instead of pairs of cells. So the time is linear in the number of cells.

References
----------
Fred and Jain: Combining multiple clusterings using evidence accumulation, IEEE TPAMI 27(6), 2005, 835-850.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl._crosstab import crosstab
from scrcl.cluster.agglomerate import MergeCost, agglomerate
from scrcl.cluster.micro import MicroClusters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["consensus"]


def consensus(
    micro_labels: IntArray,
    views: Iterable[IntArray],
    n_clusters: int,
    *,
    smallest: int,
    sizes: FloatArray | None = None,
) -> NDArray[np.int32]:
    """Merge micro-clusters to ``n_clusters``, first those that the fewest views separate.

    Parameters
    ----------
    micro_labels
        ndarray of int, shape (n_cells,): 0 .. n_micro - 1, none empty.
    views
        Clusterings of the same cells, shape (n_cells,) each. They are read one at a time.
    smallest
        Cells of the smallest cluster, if the tree allows it.
    sizes
        Shape (n_micro,): number of cells of each micro-cluster, if the given cells are only a subset of them.

    Returns
    -------
    ndarray of int32, shape (n_micro,)
        0 .. n_clusters - 1.
    """
    micro = separations(micro_labels, views)
    if sizes is not None:
        micro = replace(micro, sizes=np.asarray(sizes, np.float64))
    # No size term: evidence accumulation is plain average linkage.
    return agglomerate(micro, n_clusters, cost=MergeCost(0), smallest=smallest)


def separations(micro_labels: IntArray, views: Iterable[IntArray]) -> MicroClusters:
    """Return micro-clusters in the space of all views.

    The mean squared distance between cells of two micro-clusters is the share of views that separate them.
    """
    sizes = np.bincount(micro_labels).astype(np.float64)
    shares = [_shares(micro_labels, labels, sizes) for labels in views]
    # Two different one-hot vectors have a squared distance of 2, and there are len(shares) views: so the factor
    # scales distances to shares. The spread of one-hot vectors around their mean is 1 minus its squared length.
    spreads = sum(1 - (share**2).sum(axis=1) for share in shares) / (2 * len(shares))
    return MicroClusters(
        np.concatenate(shares, axis=1) / np.sqrt(2 * len(shares)), sizes, np.maximum(spreads, 0)
    )


def _shares(micro_labels: IntArray, labels: IntArray, sizes: FloatArray) -> FloatArray:
    """Return the share of each micro-cluster's cells in each cluster: shape (n_micro, n_clusters)."""
    n_micro, n_labels = len(sizes), int(labels.max()) + 1
    return np.asarray(crosstab(micro_labels, labels, n_micro, n_labels) / sizes[:, None])
