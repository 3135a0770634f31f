"""PAGA: how strongly clusters are joined in the neighbour graph, compared with chance.

The same numbers as ``scanpy.tl.paga``, but the neighbours are counted in blocks, from disk.

References
----------
Wolf et al.: PAGA: graph abstraction reconciles clustering with trajectory inference. Genome Biology 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.io.arrays import release, row_blocks
from scrcl.io.npz import ArrayFile

if TYPE_CHECKING:
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["Links", "paga_links", "positions", "scanpy_paga"]

_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True, eq=False)
class Links(ArrayFile):
    """Links of clusters.

    Attributes
    ----------
    neighbours
        ndarray of int64, shape (n_clusters, n_clusters): nearest neighbours that cells of a cluster (row) have in
        another (column).
    connectivities
        ndarray of float64, of that shape: neighbours between two clusters, over those expected if they were drawn at
        random; at most 1. 0 on the diagonal.
    sizes
        ndarray of int64, shape (n_clusters,): cells.
    positions
        ndarray of float64, shape (n_clusters, 2): where clusters are drawn.
    """

    neighbours: IntArray
    connectivities: FloatArray
    sizes: IntArray
    positions: FloatArray


def paga_links(ids: IntArray, labels: IntArray, where: FloatArray) -> Links:
    """Count the neighbours between clusters, and compare with chance.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n_cells, k): nearest neighbours, -1 for none.
    labels
        ndarray of int, shape (n_cells,): 0 .. n_clusters - 1.
    where
        ndarray of float, shape (n_clusters, 2): where the clusters are drawn.
    """
    n_clusters = int(labels.max()) + 1
    counts = np.zeros(n_clusters**2, np.int64)
    for start, stop in row_blocks(len(ids), max(_BLOCK_VALUES // ids.shape[1], 1)):
        near = np.asarray(ids[start:stop])
        of_cell = np.broadcast_to(labels[start:stop, None].astype(np.int64), near.shape)
        found = near >= 0
        pairs = n_clusters * of_cell[found] + labels[near[found]]
        counts += np.bincount(pairs, minlength=n_clusters**2)
        release(ids)
    neighbours = counts.reshape(n_clusters, n_clusters)
    sizes = np.bincount(labels, minlength=n_clusters)
    out = neighbours.sum(axis=1)
    expected = (np.outer(out, sizes) + np.outer(sizes, out)) / max(len(labels) - 1, 1)
    both = (neighbours + neighbours.T).astype(np.float64)
    np.fill_diagonal(both, 0)
    ratio = np.divide(both, expected, out=np.zeros_like(both), where=both > 0)
    return Links(neighbours, np.minimum(ratio, 1), sizes, np.asarray(where, np.float64))


def positions(layout: FloatArray, labels: IntArray) -> FloatArray:
    """Return the median position of the cells of each cluster, shape (n_clusters, 2)."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))[:-1]
    return np.array([np.median(layout[cells], axis=0) for cells in np.split(order, ends)])


def scanpy_paga(links: Links, *, groups: str) -> dict[str, Any]:
    """Return scanpy's ``uns["paga"]``, with its positions."""
    from scipy import sparse

    connectivities = sparse.csr_matrix(links.connectivities)
    return {
        "connectivities": connectivities,
        "connectivities_tree": _tree(connectivities),
        "groups": groups,
        "pos": links.positions,
    }


def _tree(connectivities: Csr) -> Csr:
    """Return the links that are left when as many as possible of the weak ones are removed."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    weakness = connectivities.copy()
    weakness.data = 1 / weakness.data
    tree = minimum_spanning_tree(weakness).tocsr()
    tree.data = 1 / tree.data
    return tree
