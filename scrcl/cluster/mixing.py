"""How far clusters and neighbours follow the batch that cells are of.

Clusters that differ by batch may be due to how cells were measured, or to types that a donor alone has: the
figures say that they differ, and not why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import drawn_rows
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["batch_entropies", "describe_mixing", "neighbour_mixing"]

_BLOCK_PAIRS = 4_000_000


def describe_mixing(
    labels: IntArray,
    codes: IntArray,
    ids: IntArray,
    points: FloatArray,
    *,
    n_neighbors: int,
    n_cells: int,
    seed: int,
) -> dict[str, Any]:
    """Return the figures of a clustering, as JSON values.

    Parameters
    ----------
    labels, codes
        ndarrays of int, shape (n_cells,): cluster and batch of each cell.
    ids
        Neighbours of each cell in the cell graph, as `neighbour_mixing` takes them.
    points
        What was clustered, shape (n_cells, n_dims): neighbours are searched in it among ``n_cells`` cells drawn
        uniformly.

    Returns
    -------
    dict
        ``n_batches``; ``nmi`` (arithmetic mean) and ``ari`` of clusters against batches; ``entropy`` of each cluster
        and ``entropy_of_all``; ``graph`` and ``embedding``, what `neighbour_mixing` says of the neighbours in
        either.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    from scrcl.graph.knn import knn

    _, batch = np.unique(codes, return_inverse=True)
    cells = drawn_rows(len(points), n_cells, seed, "cluster.mixing")
    near = knn(np.asarray(points[cells]), min(n_neighbors, len(cells) - 1), seed=seed).ids
    return {
        "n_batches": int(batch.max()) + 1,
        "nmi": float(normalized_mutual_info_score(batch, labels)),
        "ari": float(adjusted_rand_score(batch, labels)),
        "entropy": batch_entropies(labels, batch).tolist(),
        "entropy_of_all": float(batch_entropies(np.zeros_like(batch), batch)[0]),
        "graph": neighbour_mixing(ids, batch),
        "embedding": {**neighbour_mixing(near, batch[cells]), "n_cells": len(cells)},
    }


def batch_entropies(labels: IntArray, codes: IntArray) -> NDArray[np.float64]:
    """Return the entropy of the batches in each cluster, as a share of that of equal numbers of every batch.

    Returns
    -------
    ndarray of float64, shape (n_clusters,)
        0 of a cluster of one batch, 1 where all have as many cells in it; 1 too where there is one batch alone.
    """
    n_clusters, n_batches = int(labels.max()) + 1, int(codes.max()) + 1
    if n_batches == 1:
        return np.ones(n_clusters)
    table = np.bincount(
        labels.astype(np.int64) * n_batches + codes, minlength=n_clusters * n_batches
    ).reshape(n_clusters, n_batches)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(np.abs((shares * logs).sum(axis=1)) / np.log(n_batches))


def neighbour_mixing(ids: IntArray, codes: IntArray) -> dict[str, float]:
    """Return of which batches the neighbours of cells are; ids are read once, in blocks.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n_cells, k); -1 where a cell has fewer.
    codes
        ndarray of int, shape (n_cells,): 0 .. n_batches - 1.

    Returns
    -------
    dict
        ``across``: share of neighbours of another batch; ``across_expected``: that of cells paired at random;
        ``effective_batches``: mean over cells of the inverse Simpson index of their neighbours' batches, from 1
        to the number of batches; ``effective_expected``: the index of all cells.

    Notes
    -----
    LISI weighs neighbours by distance, at a perplexity; here the k neighbours count alike.

    References
    ----------
    Korsunsky et al.: Fast, sensitive and accurate integration of single-cell data with Harmony, Nature
    Methods 16 (2019), 1289-1296: iLISI.
    """
    shares = np.bincount(codes) / len(codes)
    simpson = float((shares**2).sum())
    across = pairs = 0
    effective, n_with = 0.0, 0
    for start, stop in row_blocks(len(ids), max(_BLOCK_PAIRS // ids.shape[1] ** 2, 1)):
        block = np.asarray(ids[start:stop])
        there = block >= 0
        near = np.where(there, codes[block], -1)
        across += int(((near != codes[start:stop, None]) & there).sum())
        counts = there.sum(axis=1)
        pairs += int(counts.sum())
        # Ordered pairs of neighbours of one batch, out of all: the Simpson index of their shares.
        same = ((near[:, :, None] == near[:, None, :]) & there[:, :, None]).sum(axis=(1, 2))
        known = counts > 0
        effective += float((counts[known] ** 2 / same[known]).sum())
        n_with += int(known.sum())
        release(ids)
    return {
        "across": across / max(pairs, 1),
        "across_expected": 1 - simpson,
        "effective_batches": effective / max(n_with, 1),
        "effective_expected": 1 / simpson,
    }
