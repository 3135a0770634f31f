"""The gene graph: genes whose expression runs alike over the cells.

Genes are compared as columns of the matrix of cells by genes, in one of two ways: on their sketch (to
the rank of the components), or exactly, from their inner products over all cells. Cosine is that of
the columns as they are, correlation that of the centred columns; Euclidean distance is that of the
columns, but on the sketch that of the centred ones.

A gene of zeros has no direction, and one without variance no correlation: where the metric is not
defined for a gene, it has no neighbours and is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.knn import knn
from scrcl.io.arrays import require_neighbors, row_blocks
from scrcl.prep.pca import gene_sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.prep.pca import Pca
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["GeneMetric", "exact_neighbors", "gene_graph", "overlap", "sketched_neighbors"]

GeneMetric: TypeAlias = Literal["euclidean", "cosine", "correlation"]

NONE = -1
"""In place of a neighbour, where a gene has none."""

BLOCK_ROWS = 512

_ROUNDING = 1e-6
"""Share of its sum of squares below which a gene's variance is rounding of the products (in float32)."""

_NOTHING = 1e-20
"""Share of the largest sum of squares below which one is rounding of the eigenvectors."""


def sketched_neighbors(
    pca: Pca, n_obs: int, k: int, *, metric: GeneMetric = "euclidean"
) -> NDArray[np.int32]:
    """Find the ``k`` nearest genes of each gene on the sketch: loadings times singular values.

    Parameters
    ----------
    pca
        Principal components of ``n_obs`` cells.
    k
        Number of neighbours; where there are not more than ``k`` other genes, all of them.

    Returns
    -------
    ndarray of int32, shape (n_genes, min(k, n_genes - 1))
        Nearest first; -1 in all of a row where the metric is not defined for the gene, and at the end
        of rows where too few others have it.

    Raises
    ------
    InputError
        When ``k`` is below 1, or a value is not finite.
    """
    require_neighbors(k)
    centred = gene_sketch(pca)
    if metric == "euclidean":
        return _nearest_rows(centred, np.ones(len(centred), np.bool_), k)
    means = (np.sqrt(n_obs) * pca.mean)[:, None]
    # Inner products of the columns are those of the centred ones and n times that of the means.
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
        ``X^T X`` and column sums of X: ndarrays of float64, shapes (M, M) and (M,). A memory map is
        read in blocks of rows.

    Returns
    -------
    ndarray of int32, shape (n_genes, min(k, n_genes - 1))
        As of `sketched_neighbors`; equal distances are ordered by gene.

    Raises
    ------
    InputError
        When ``k`` is below 1.
    """
    require_neighbors(k)
    means = sums / n_obs if metric == "correlation" else np.zeros(len(sums))
    raw = np.asarray(gram.diagonal())
    squares = raw - n_obs * means**2
    defined = squares > _ROUNDING * raw
    if metric == "euclidean":
        defined[:] = True
    lengths = np.sqrt(np.where(defined, squares, 1))
    ids = np.full((len(sums), max(min(k, len(sums) - 1), 0)), NONE, np.int32)
    n_found = max(min(ids.shape[1], int(defined.sum()) - 1), 0)
    for start, stop in row_blocks(len(sums), BLOCK_ROWS):
        products = gram[start:stop] - n_obs * np.outer(means[start:stop], means)
        # But for what is the same in all of a row, which does not change its order.
        away = squares - 2 * products if metric == "euclidean" else -products / lengths
        away[:, ~defined] = np.inf
        away[np.arange(stop - start), np.arange(start, stop)] = np.inf
        ids[start:stop, :n_found] = np.argsort(away, axis=1, kind="stable")[:, :n_found]
    ids[~defined] = NONE
    return ids


def gene_graph(ids: IntArray) -> Graph:
    """Join each gene to its neighbours, both ways; one without neighbours stays alone.

    Parameters
    ----------
    ids
        ndarray of int, shape (n_genes, k): neighbours, -1 where there are none.
    """
    return symmetric_graph(ids)


def overlap(ids: IntArray, others: IntArray) -> float | None:
    """Return the mean share of neighbours that two searches have in common; None where there are none.

    Parameters
    ----------
    ids, others
        ndarrays of int, shape (n, k): neighbours of the same points, -1 where there are none. The mean
        is over the points that have neighbours in both.
    """
    shared = ((ids[:, :, None] == others[:, None, :]) & (ids != NONE)[:, :, None]).any(2).sum(1)
    n_neighbors = np.minimum((ids != NONE).sum(1), (others != NONE).sum(1))
    told = n_neighbors > 0
    return float((shared[told] / n_neighbors[told]).mean()) if told.any() else None


def _nearest_rows(points: FloatArray, defined: BoolArray, k: int) -> NDArray[np.int32]:
    """Return the nearest rows of each row, among those that are defined."""
    ids = np.full((len(points), max(min(k, len(points) - 1), 0)), NONE, np.int32)
    rows = np.flatnonzero(defined)
    if len(rows) > 1:
        n_found = min(k, len(rows) - 1)
        found = knn(points[rows], n_found, seed=0, backend="exact").ids
        ids[rows, :n_found] = rows[found]
    return ids
