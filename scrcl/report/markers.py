"""Marker genes of each cluster, from one read of the feature store.

Genes are ranked by Welch's t statistic of their log values, each cluster against all other cells.
This is what ``scanpy.tl.rank_genes_groups(method="t-test")`` computes. Sums for each cluster are enough
for it, so the matrix never needs to be in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["cluster_sums", "rank_markers"]


@dataclass(frozen=True)
class ClusterSums:
    """Sums over the cells of each cluster.

    Attributes
    ----------
    n_cells
        ndarray of float64, shape (n_clusters,).
    total, squares, expressing
        ndarrays of float64, shape (n_clusters, n_genes): sum of the log values, sum of their
        squares, and number of cells with a value above 0.
    """

    n_cells: FloatArray
    total: FloatArray
    squares: FloatArray
    expressing: FloatArray


def cluster_sums(store: FeatureStore, labels: IntArray) -> ClusterSums:
    """Return sums over the cells of each cluster, from one pass over the feature store.

    Parameters
    ----------
    labels
        ndarray of integers, shape (n_cells,): 0 .. n_clusters - 1.
    """
    n_clusters = int(labels.max()) + 1
    shape = (n_clusters, store.n_vars)
    total, squares, expressing = (np.zeros(shape) for _ in range(3))
    for start, block in store:
        member = _membership(labels[start : start + block.shape[0]], n_clusters)
        # One copy of the block serves all three sums: its values are squared, then replaced by 1.
        values = block.astype(np.float64)
        total += (member @ values).toarray()
        values.data **= 2
        squares += (member @ values).toarray()
        values.data[:] = values.data > 0  # true for the same values as before the squaring
        expressing += (member @ values).toarray()
    n_cells = np.bincount(labels, minlength=n_clusters).astype(np.float64)
    return ClusterSums(n_cells, total, squares, expressing)


def rank_markers(sums: ClusterSums, genes: pd.Index, *, n_top: int) -> pd.DataFrame:
    """Top marker genes of each cluster, by Welch's t against all other cells.

    Returns
    -------
    DataFrame
        ``n_top`` rows per cluster, or all genes if there are fewer. Columns: ``cluster``; ``rank``
        (from 0); ``gene``; ``score`` (t); ``log_fold_change`` (base 2, as in scanpy); ``share_in``
        and ``share_out``, the shares of cells inside and outside the cluster that express the gene.
    """
    import pandas as pd

    rest = ClusterSums(
        sums.n_cells.sum() - sums.n_cells,
        sums.total.sum(axis=0) - sums.total,
        sums.squares.sum(axis=0) - sums.squares,
        sums.expressing.sum(axis=0) - sums.expressing,
    )
    mean_in, variance_in, share_in = _moments(sums)
    mean_out, variance_out, share_out = _moments(rest)
    standard_error = np.sqrt(variance_in + variance_out)
    # Genes that are constant inside and outside have no t. They get 0.
    t = np.divide(
        mean_in - mean_out,
        standard_error,
        out=np.zeros_like(standard_error),
        where=standard_error > 0,
    )
    # expm1 of the mean log values, and 1e-9 against division by 0: both as in scanpy.
    fold = np.log2((np.expm1(mean_in) + 1e-9) / (np.expm1(mean_out) + 1e-9))
    top = np.argsort(-t, axis=1, kind="stable")[:, :n_top]
    cluster = np.repeat(np.arange(len(t)), top.shape[1])
    positions: tuple[Any, Any] = (cluster, top.ravel())
    return pd.DataFrame(
        {
            "cluster": cluster,
            "rank": np.tile(np.arange(top.shape[1]), len(t)),
            "gene": np.asarray(genes)[top.ravel()],
            "score": t[positions],
            "log_fold_change": fold[positions],
            "share_in": share_in[positions],
            "share_out": share_out[positions],
        }
    )


def _membership(labels: IntArray, n_clusters: int) -> Csr:
    """Matrix of shape (n_clusters, n_cells) with a 1 where the cell belongs to the cluster.

    Its product with a block of cells sums the block by cluster.
    """
    from scipy.sparse import csr_matrix

    n = len(labels)
    return csr_matrix((np.ones(n), (labels, np.arange(n))), shape=(n_clusters, n))


def _moments(sums: ClusterSums) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, sampling variance of the mean, and share of expressing cells, per cluster and gene."""
    n = np.maximum(sums.n_cells, 1)[:, None]
    mean = sums.total / n
    # Rounding can turn a variance of 0 slightly negative. The factor n / (n - 1) makes it unbiased.
    variance = np.maximum(sums.squares / n - mean**2, 0) * n / np.maximum(n - 1, 1)
    return mean, variance / n, sums.expressing / n
