"""How far clusters and neighbours follow the batches.

Clusters that differ by batch may be due to how cells were measured, or to cell types that only one donor has. These
numbers show that they differ, but not why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._crosstab import crosstab
from scrcl._random import drawn_rows
from scrcl.io.arrays import gathered, release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "BatchMixing",
    "NeighbourMixing",
    "describe_mixing",
]

_BLOCK_PAIRS = 4_000_000
"""Pairs of neighbours of the same cell in a block; each takes some bytes."""


@dataclass(frozen=True)
class NeighbourMixing:
    """Batches of the neighbours of cells.

    Attributes
    ----------
    across
        Share of neighbours from another batch.
    across_expected
        The same share for cells that are paired at random.
    effective_batches
        Inverse Simpson index of the batches around a cell, as a mean over cells: 1 to the number of batches.
    effective_expected
        The index of all cells.
    """

    across: float
    across_expected: float
    effective_batches: float
    effective_expected: float


@dataclass(frozen=True)
class SubsetMixing(NeighbourMixing):
    """Batches of the neighbours of a subset of ``n_cells`` cells."""

    n_cells: int


@dataclass(frozen=True)
class BatchMixing:
    """How far a clustering follows the batches.

    Attributes
    ----------
    nmi, ari
        Normalised mutual information (arithmetic mean) and adjusted Rand index of clusters against batches.
    entropy
        Entropy of the batches in each cluster: see `batch_entropies`.
    entropy_of_all
        The same for all cells.
    graph, embedding
        Batches of neighbours in the cell graph, and in the embedding.
    """

    n_batches: int
    nmi: float
    ari: float
    entropy: list[float]
    entropy_of_all: float
    graph: NeighbourMixing
    embedding: SubsetMixing


def describe_mixing(
    labels: IntArray,
    codes: IntArray,
    ids: IntArray,
    points: FloatArray,
    *,
    n_neighbors: int,
    n_cells: int,
    seed: int,
) -> BatchMixing:
    """Return how far a clustering follows the batches.

    Parameters
    ----------
    labels, codes
        ndarrays of int, shape (n_cells,): cluster and batch of each cell.
    ids
        Neighbours of each cell in the cell graph, as in `neighbour_mixing`.
    points
        The embedding that is clustered, shape (n_cells, n_dims).
    n_neighbors, n_cells
        Neighbours in the embedding, searched among a random subset of this many cells.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    from scrcl.graph.knn import knn

    # Codes may skip batches that have no cells left.
    _, batch = np.unique(codes, return_inverse=True)
    cells = drawn_rows(len(points), n_cells, seed, "cluster.mixing")
    near = knn(gathered(points, cells), min(n_neighbors, len(cells) - 1), seed=seed).ids
    return BatchMixing(
        n_batches=int(batch.max()) + 1,
        nmi=float(normalized_mutual_info_score(batch, labels)),
        ari=float(adjusted_rand_score(batch, labels)),
        entropy=batch_entropies(labels, batch).tolist(),
        entropy_of_all=float(batch_entropies(np.zeros_like(batch), batch)[0]),
        graph=neighbour_mixing(ids, batch),
        embedding=SubsetMixing(**vars(neighbour_mixing(near, batch[cells])), n_cells=len(cells)),
    )


def batch_entropies(labels: IntArray, codes: IntArray) -> NDArray[np.float64]:
    """Return the entropy of the batches in each cluster, as a share of the largest possible entropy.

    Returns
    -------
    ndarray of float64, shape (n_clusters,)
        0 for a cluster with cells of one batch, 1 if all batches have equal numbers in it. All 1 if there is only one
        batch.
    """
    n_clusters, n_batches = int(labels.max()) + 1, int(codes.max()) + 1
    if n_batches == 1:
        return np.ones(n_clusters)
    table = crosstab(labels, codes, n_clusters, n_batches)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    # 0 log 0 is 0: a batch without cells in the cluster adds nothing.
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(np.abs((shares * logs).sum(axis=1)) / np.log(n_batches))


def neighbour_mixing(ids: IntArray, codes: IntArray) -> NeighbourMixing:
    """Return how often neighbours are from another batch. Reads ``ids`` once, in blocks.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n_cells, k): neighbours of each cell; -1 where there are fewer.
    codes
        ndarray of int, shape (n_cells,): 0 .. n_batches - 1.

    Notes
    -----
    ``effective_batches`` differs from LISI, which weights neighbours by distance: here all k neighbours count equally.

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
        exists = block >= 0
        near = np.where(exists, codes[block], -1)
        across += int(((near != codes[start:stop, None]) & exists).sum())
        counts = exists.sum(axis=1)
        pairs += int(counts.sum())
        # The Simpson index of the neighbours is the share of their ordered pairs with both of one batch. Pairs of
        # absent neighbours are equal too (-1), so they are masked.
        same = ((near[:, :, None] == near[:, None, :]) & exists[:, :, None]).sum(axis=(1, 2))
        known = counts > 0
        effective += float((counts[known] ** 2 / same[known]).sum())
        n_with += int(known.sum())
        release(ids)
    return NeighbourMixing(
        across=across / max(pairs, 1),
        across_expected=1 - simpson,
        effective_batches=effective / max(n_with, 1),
        effective_expected=1 / simpson,
    )
