"""Merge micro-clusters to K clusters, between average linkage and Ward.

k-means and Ward cut large types into pieces: their cost of joining two groups grows with the
number of cells in them. Average linkage has no such term and leaves outliers as clusters of
their own. The cost here is the mean squared distance between the cells of two groups times
``(n_i n_j / (n_i + n_j)) ** size_power``: 0 is average linkage (UPGMA on squared distances), 1 has
Ward's size term, and one half stands between.

Cells enter as micro-clusters (centroid, size, spread), so the work is that of a few hundred points,
whatever the number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["MicroClusters", "agglomerate", "cut", "merge_tree", "summarise"]


@dataclass(frozen=True)
class MicroClusters:
    """Groups of near cells.

    Attributes
    ----------
    centroids
        ndarray of float64, shape (n_groups, n_dims).
    sizes
        ndarray of float64, shape (n_groups,): cells in each, at least one.
    spreads
        ndarray of float64, shape (n_groups,): mean squared distance of the cells to their centroid.
    """

    centroids: FloatArray
    sizes: FloatArray
    spreads: FloatArray


def summarise(points: FloatArray, labels: IntArray, *, block_rows: int = 65_536) -> MicroClusters:
    """Sum up the groups of cells; ``points`` (n_cells, n_dims) is read in blocks."""
    from scipy.sparse import csr_matrix

    n_groups = int(labels.max()) + 1
    sums, squares = np.zeros((n_groups, points.shape[1])), np.zeros(n_groups)
    for start in range(0, len(points), block_rows):
        rows = np.asarray(points[start : start + block_rows], dtype=np.float64)
        inside = labels[start : start + len(rows)]
        member = csr_matrix(
            (np.ones(len(rows)), (inside, np.arange(len(rows)))), shape=(n_groups, len(rows))
        )
        sums += member @ rows
        squares += np.bincount(inside, np.einsum("ij,ij->i", rows, rows), minlength=n_groups)
    sizes = np.bincount(labels, minlength=n_groups).astype(np.float64)
    centroids = sums / sizes[:, None]
    spreads = squares / sizes - np.einsum("ij,ij->i", centroids, centroids)
    return MicroClusters(centroids, sizes, np.maximum(spreads, 0))


def agglomerate(
    groups: MicroClusters, n_clusters: int, *, size_power: float, smallest: int = 1
) -> IntArray:
    """Cut the merge tree so that ``n_clusters`` clusters of at least ``smallest`` cells are there.

    What the cut leaves smaller than that joins the nearest cluster. Where no cut has enough
    clusters of that size, the tree is cut to ``n_clusters`` of any size.

    Returns
    -------
    ndarray of int32, shape (n_groups,)
        Cluster of each micro-cluster, 0 .. n_clusters - 1.

    Raises
    ------
    InputError
        There are fewer micro-clusters than clusters.
    """
    n_groups = len(groups.sizes)
    if n_clusters > n_groups:
        message = f"n_clusters must be at most the {n_groups} micro-clusters; got {n_clusters}."
        raise InputError(message)
    tree = merge_tree(groups, size_power=size_power)
    for n_pieces in range(n_clusters, n_groups + 1):
        labels = cut(tree, n_pieces)
        fair = np.bincount(labels, groups.sizes) >= smallest
        if fair.sum() >= n_clusters:
            return _absorb(groups, labels, fair)
    return cut(tree, n_clusters)


def merge_tree(groups: MicroClusters, *, size_power: float) -> IntArray:
    """Merge the cheapest pair until one group is left; equal costs go to the lowest pair.

    Returns
    -------
    ndarray of int64, shape (n_groups - 1, 2)
        The pair (i, j), i < j, of each merge in order; what they make goes on as i.
    """
    n_groups = len(groups.sizes)
    distances, sizes = _mean_square_distances(groups), groups.sizes.astype(np.float64).copy()
    costs = distances * _size_term(sizes[:, None], sizes[None, :], size_power)
    np.fill_diagonal(costs, np.inf)
    merges = np.empty((n_groups - 1, 2), dtype=np.int64)
    for step in range(n_groups - 1):
        i, j = sorted(divmod(int(np.argmin(costs)), n_groups))
        merges[step] = i, j
        share = sizes[i] / (sizes[i] + sizes[j])
        distances[i] = share * distances[i] + (1 - share) * distances[j]
        distances[:, i] = distances[i]
        sizes[i] += sizes[j]
        costs[j] = costs[:, j] = np.inf
        alive = np.isfinite(costs[i])
        row = distances[i] * _size_term(sizes[i], sizes, size_power)
        costs[i, alive] = costs[alive, i] = row[alive]
    return merges


def cut(tree: IntArray, n_pieces: int) -> IntArray:
    """Return the piece of each group, 0 .. n_pieces - 1, where ``n_pieces`` are left: int32."""
    n_groups = len(tree) + 1
    piece = np.arange(n_groups)
    for i, j in tree[: n_groups - n_pieces]:
        piece[piece == j] = i
    return np.unique(piece, return_inverse=True)[1].astype(np.int32)


def _absorb(groups: MicroClusters, labels: IntArray, fair: BoolArray) -> IntArray:
    """Give the micro-clusters of clusters that are not ``fair`` to the nearest centroid of those that are."""
    from scipy.spatial.distance import cdist

    weights = np.zeros((len(fair), len(labels)))
    weights[labels, np.arange(len(labels))] = groups.sizes
    centroids = weights @ groups.centroids / weights.sum(axis=1, keepdims=True)
    nearest = cdist(groups.centroids, centroids[fair], "sqeuclidean").argmin(axis=1)
    renamed = np.cumsum(fair) - 1
    return np.where(fair[labels], renamed[labels], nearest).astype(np.int32)


def _mean_square_distances(groups: MicroClusters) -> FloatArray:
    """Mean squared distance between the cells of two groups: of their centroids, and both spreads."""
    from scipy.spatial.distance import cdist

    between = cdist(groups.centroids, groups.centroids, "sqeuclidean")
    return np.asarray(between + groups.spreads[:, None] + groups.spreads[None, :])


def _size_term(a: FloatArray, b: FloatArray, power: float) -> FloatArray:
    return np.asarray((a * b / (a + b)) ** power)
