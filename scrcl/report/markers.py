"""Marker genes of each cluster, from one read of the feature store.

Welch's t statistic of the log values, cluster against the rest, from per-cluster sums: what
``scanpy.tl.rank_genes_groups(method="t-test")`` computes, without the matrix in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["ClusterSums", "cluster_sums", "rank_markers"]


@dataclass(frozen=True)
class ClusterSums:
    """Sums over the cells of each cluster.

    Attributes
    ----------
    n_cells
        ndarray of float64, shape (n_clusters,).
    total, squares, expressing
        ndarrays of float64, shape (n_clusters, n_genes): sum of the log values, of their squares,
        and the number of cells in which the gene is seen.
    """

    n_cells: FloatArray
    total: FloatArray
    squares: FloatArray
    expressing: FloatArray


def cluster_sums(store: FeatureStore, labels: IntArray) -> ClusterSums:
    """Sum the feature store by cluster; ``labels`` are 0 .. n_clusters - 1, shape (n_cells,)."""
    n_clusters = int(labels.max()) + 1
    shape = (n_clusters, store.n_vars)
    total, squares, expressing = (np.zeros(shape) for _ in range(3))
    for start, block in store:
        member = _membership(labels[start : start + block.shape[0]], n_clusters)
        values = block.astype(np.float64)
        total += (member @ values).toarray()
        values.data **= 2
        squares += (member @ values).toarray()
        values.data[:] = values.data > 0
        expressing += (member @ values).toarray()
    n_cells = np.bincount(labels, minlength=n_clusters).astype(np.float64)
    return ClusterSums(n_cells, total, squares, expressing)


def rank_markers(sums: ClusterSums, genes: pd.Index, *, n_top: int) -> pd.DataFrame:
    """Rank the genes of each cluster by Welch's t against all other cells.

    Returns
    -------
    DataFrame
        ``n_top`` rows a cluster with ``cluster``, ``rank`` (from 0), ``gene``, ``score`` (t),
        ``log_fold_change`` (base 2, of mean expm1 values, as scanpy's), ``share_in`` and
        ``share_out`` (of cells in which the gene is seen).
    """
    import pandas as pd

    rest = ClusterSums(
        sums.n_cells.sum() - sums.n_cells,
        sums.total.sum(axis=0) - sums.total,
        sums.squares.sum(axis=0) - sums.squares,
        sums.expressing.sum(axis=0) - sums.expressing,
    )
    mean_in, error_in, share_in = _moments(sums)
    mean_out, error_out, share_out = _moments(rest)
    spread = np.sqrt(error_in + error_out)
    t = np.divide(mean_in - mean_out, spread, out=np.zeros_like(spread), where=spread > 0)
    fold = np.log2((np.expm1(mean_in) + 1e-9) / (np.expm1(mean_out) + 1e-9))
    top = np.argsort(-t, axis=1, kind="stable")[:, :n_top]
    cluster = np.repeat(np.arange(len(t)), top.shape[1])
    at: tuple[Any, Any] = (cluster, top.ravel())
    return pd.DataFrame(
        {
            "cluster": cluster,
            "rank": np.tile(np.arange(top.shape[1]), len(t)),
            "gene": np.asarray(genes)[top.ravel()],
            "score": t[at],
            "log_fold_change": fold[at],
            "share_in": share_in[at],
            "share_out": share_out[at],
        }
    )


def _membership(labels: IntArray, n_clusters: int) -> Csr:
    from scipy.sparse import csr_matrix

    n = len(labels)
    return csr_matrix((np.ones(n), (labels, np.arange(n))), shape=(n_clusters, n))


def _moments(sums: ClusterSums) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, squared standard error of the mean, and share of expressing cells."""
    n = np.maximum(sums.n_cells, 1)[:, None]
    mean = sums.total / n
    variance = np.maximum(sums.squares / n - mean**2, 0) * n / np.maximum(n - 1, 1)
    return mean, variance / n, sums.expressing / n
