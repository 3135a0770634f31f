"""The gene graph: it joins genes with similar expression over the cells.

Genes are columns of the matrix of cells by genes. They are compared in one of two ways: by their sketch, which has the
rank of the principal components, or exactly, by their inner products over all cells. Cosine uses the columns as they
are, and correlation the centred columns. Euclidean distance uses the columns as they are in the exact way, and the
centred columns in the sketch.

A gene of zeros has no direction, and a gene without variance has no correlation. If the metric is undefined for a
gene, the gene has no neighbours and is a neighbour of none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from scrcl.graph.backends import Search
from scrcl.graph.knn import knn
from scrcl.io.arrays import require_neighbors, row_blocks
from scrcl.prep.pca import gene_sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.prep.pca import Pca
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["GeneMetric", "exact_neighbors", "overlap", "sketched_neighbors"]

GeneMetric: TypeAlias = Literal["euclidean", "cosine", "correlation"]

_NONE = -1
"""Id of a missing neighbour."""

_BLOCK_ROWS = 512

_ROUNDING = 1e-6
"""A variance below this share of the gene's sum of squares is rounding of float32 products."""

_NOTHING = 1e-20
"""A sum of squares below this share of the largest is rounding of the eigenvectors."""


def sketched_neighbors(
    pca: Pca, n_obs: int, k: int, *, metric: GeneMetric = "euclidean"
) -> NDArray[np.int32]:
    """Find the ``k`` nearest genes of each gene by the sketch: loadings times singular values.

    Parameters
    ----------
    pca
        Principal components of the cells.
    n_obs
        Number of cells.
    k
        Number of neighbours; if there are fewer other genes, all of them.
    metric
        How genes are compared.

    Returns
    -------
    ndarray of int32, shape (n_genes, min(k, n_genes - 1))
        Nearest first. A row is all -1 if the metric is undefined for the gene. It ends in -1 if the metric is defined
        for too few other genes.

    Raises
    ------
    InputError
        ``k`` is below 1, or a value is not finite.
    """
    require_neighbors(k)
    centred = gene_sketch(pca)
    if metric == "euclidean":
        return _nearest_rows(centred, np.ones(len(centred), np.bool_), k)
    means = (np.sqrt(n_obs) * pca.mean)[:, None]
    # The inner product of two columns is that of the centred columns plus n times the product of their means.
    vectors = np.hstack([centred, means]) if metric == "cosine" else centred
    squares, centred_squares = (
        (rows.astype(np.float64) ** 2).sum(1) for rows in (vectors, centred)
    )
    defined = squares > _NOTHING * squares.max(initial=0)
    if metric == "correlation":
        defined &= centred_squares > _ROUNDING * (centred_squares + means[:, 0] ** 2)
    lengths = np.sqrt(np.where(defined, squares, 1))
    return _nearest_rows((vectors / lengths[:, None]).astype(np.float32), defined, k)


def exact_neighbors(
    gram: FloatArray, sums: FloatArray, n_obs: int, k: int, *, metric: GeneMetric = "euclidean"
) -> NDArray[np.int32]:
    """Find the ``k`` nearest genes of each gene over all cells, from their inner products.

    Parameters
    ----------
    gram, sums
        ``X^T X`` and column sums of X: ndarrays of float64, shapes (n_genes, n_genes) and (n_genes,). A memory map is
        read in blocks of rows.
    n_obs
        Number of cells.
    k, metric
        As for `sketched_neighbors`.

    Returns
    -------
    ndarray of int32, shape (n_genes, min(k, n_genes - 1))
        As from `sketched_neighbors`; equal distances are ordered by gene.

    Raises
    ------
    InputError
        ``k`` is below 1.
    """
    require_neighbors(k)
    means = sums / n_obs if metric == "correlation" else np.zeros(len(sums))
    raw = np.asarray(gram.diagonal())
    squares = raw - n_obs * means**2
    defined = squares > _ROUNDING * raw
    if metric == "euclidean":
        defined[:] = True
    lengths = np.sqrt(np.where(defined, squares, 1))
    ids = np.full((len(sums), max(min(k, len(sums) - 1), 0)), _NONE, np.int32)
    n_found = max(min(ids.shape[1], int(defined.sum()) - 1), 0)
    for start, stop in row_blocks(len(sums), _BLOCK_ROWS):
        products = gram[start:stop] - n_obs * np.outer(means[start:stop], means)
        # Without the terms that are equal in a whole row: they do not change its order.
        distances = squares - 2 * products if metric == "euclidean" else -products / lengths
        distances[:, ~defined] = np.inf
        distances[np.arange(stop - start), np.arange(start, stop)] = np.inf
        ids[start:stop, :n_found] = np.argsort(distances, axis=1, kind="stable")[:, :n_found]
    ids[~defined] = _NONE
    return ids


def overlap(ids: IntArray, others: IntArray) -> float | None:
    """Return the mean share of neighbours that two searches have in common; None if no point has neighbours in both.

    Parameters
    ----------
    ids, others
        ndarrays of int, shape (n, k): neighbours of the same points, -1 for none. The mean is over points with
        neighbours in both.
    """
    shared = ((ids[:, :, None] == others[:, None, :]) & (ids != _NONE)[:, :, None]).any(2).sum(1)
    n_neighbors = np.minimum((ids != _NONE).sum(1), (others != _NONE).sum(1))
    known = n_neighbors > 0
    return float((shared[known] / n_neighbors[known]).mean()) if known.any() else None


def _nearest_rows(points: FloatArray, defined: BoolArray, k: int) -> NDArray[np.int32]:
    """Return the nearest rows of each defined row, among the defined ones."""
    ids = np.full((len(points), max(min(k, len(points) - 1), 0)), _NONE, np.int32)
    rows = np.flatnonzero(defined)
    if len(rows) > 1:
        n_found = min(k, len(rows) - 1)
        found = knn(points[rows], n_found, seed=0, search=Search(backend="exact")).ids
        ids[rows, :n_found] = rows[found]
    return ids
