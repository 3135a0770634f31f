"""Weights of the edges that UMAP lays out, from the distances of nearest neighbours.

The weight of a neighbour falls from 1, for the nearest one, at a rate that differs from cell to cell: so that the
weights of all k neighbours add up to log2(k). Both directions of an edge are joined as probabilities. This is what
``umap.umap_.fuzzy_simplicial_set`` does. It is repeated here because umap-learn compiles for most of a minute in
every process: longer than a small run takes.

References
----------
McInnes, Healy, Melville: UMAP. arXiv:1802.03426, algorithms 2 and 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.io.arrays import row_blocks, row_starts

if TYPE_CHECKING:
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["edge_weights"]

_HALVINGS = 40
_BLOCK_ROWS = 50_000
_LEAST_SCALE = 1e-3
"""Smallest scale, as a share of the mean distance: neighbours of equal distance would divide by 0."""


def edge_weights(ids: IntArray, distances: FloatArray) -> Csr:
    """Return the symmetric weights of a graph of nearest neighbours.

    Parameters
    ----------
    ids, distances
        ndarrays of int and float32, shape (n, k): neighbours without the point itself, nearest first; an id of -1 is
        no neighbour.

    Returns
    -------
    csr_matrix of float32, shape (n, n)
        Above 0, at most 1, columns ascending.
    """
    from scipy import sparse

    n = len(ids)
    weights = np.vstack(
        [
            _directed(ids[start:stop], distances[start:stop])
            for start, stop in row_blocks(n, _BLOCK_ROWS)
        ]
    )
    found = (ids >= 0) & (weights > 0)
    indptr = row_starts(found.sum(axis=1))
    directed = sparse.csr_matrix((weights[found], ids[found], indptr), shape=(n, n))
    back = directed.T.tocsr()
    joined = directed + back - directed.multiply(back)
    joined.sort_indices()
    return joined.tocsr()


def _directed(ids: IntArray, distances: FloatArray) -> FloatArray:
    """Return the weight of every neighbour, shape (n, k)."""
    found = ids >= 0
    apart = np.where(found, distances, np.inf).astype(np.float64)
    # Cells on one point do not count as the nearest.
    nearest = np.where(apart > 0, apart, np.inf).min(axis=1)
    nearest[~np.isfinite(nearest)] = 0
    beyond = np.maximum(apart - nearest[:, None], 0)
    n_found, total = found.sum(axis=1), np.where(found, distances, 0).sum(axis=1)
    overall = float(total.sum()) / max(int(n_found.sum()), 1)
    least = _LEAST_SCALE * np.where(nearest > 0, total / (n_found + 1), overall)
    scale = np.maximum(_scales(beyond, np.log2(ids.shape[1] + 1)), np.maximum(least, 1e-30))
    weights: FloatArray = np.exp(-beyond / scale[:, None]).astype(np.float32)
    return weights


def _scales(beyond: FloatArray, target: float) -> FloatArray:
    """Return the scale at which the weights of each row add up to ``target``, by halving."""
    n = len(beyond)
    low, high, scale = np.zeros(n), np.full(n, np.inf), np.ones(n)
    for _ in range(_HALVINGS):
        above = np.exp(-beyond / scale[:, None]).sum(axis=1) > target
        high[above], low[~above] = scale[above], scale[~above]
        scale = np.where(np.isfinite(high), (low + high) / 2, 2 * scale)
    return scale
