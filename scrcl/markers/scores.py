"""Scores of every gene in every cluster against all other cells: Wilcoxon's rank sums and Welch's t.

Both are what ``scanpy.tl.rank_genes_groups`` computes, without its correction for ties unless asked for. Rank sums come
from histograms: values in one bin count as ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scrcl.markers.values import ClusterValues
    from scrcl.typing import FloatArray, IntArray

__all__ = ["GeneScores", "Test", "gene_scores"]

Test = Literal["wilcoxon", "t-test"]

_CHUNK_VALUES = 1 << 21
"""Bins that are turned into ranks at a time, in float64."""


class GeneScores(NamedTuple):
    """Every gene in every cluster against all other cells; each of float64, shape (n_genes, n_clusters)."""

    score: FloatArray
    """z of the rank sum, or t"""
    p_value: FloatArray
    """two-sided, not adjusted"""
    auc: FloatArray
    """probability that a cell of the cluster has a larger value than another cell; ties count half"""
    log_fold_change: FloatArray
    """base 2, of the means of the log values taken back to counts, as in scanpy"""
    share_in: FloatArray
    """share of the cluster's cells with a value above 0"""
    share_out: FloatArray
    """share of the other cells with a value above 0"""


def gene_scores(values: ClusterValues, *, test: Test, tie_correct: bool = False) -> GeneScores:
    """Compare each cluster with all other cells, gene by gene.

    A gene without any difference has score 0 and p value 1, and so has a cluster that is empty or holds all cells.
    """
    n_in = values.cells.astype(np.float64)
    n_out = n_in.sum() - n_in
    mean_in, var_in = _moments(values.total, values.squares, n_in)
    mean_out, var_out = _moments(_rest(values.total), _rest(values.squares), n_out)
    auc, z = _ranks(values, n_in, n_out, tie_correct=tie_correct)
    if test == "wilcoxon":
        score, p_value = z, _normal_p(z)
    else:
        score, p_value = _welch(mean_in, var_in, n_in, mean_out, var_out, n_out)
    # expm1 of the mean log values, and 1e-9 against division by 0: both as in scanpy.
    fold = np.log2((np.expm1(mean_in) + 1e-9) / (np.expm1(mean_out) + 1e-9))
    return GeneScores(
        # As precise as scanpy's. Genes that one cell has all have the same t; rounding errors would order them.
        score.astype(np.float32).astype(np.float64),
        p_value,
        auc,
        fold,
        share_in=values.expressing / np.maximum(n_in, 1),
        share_out=_rest(values.expressing) / np.maximum(n_out, 1),
    )


def _rest(sums: FloatArray | IntArray) -> FloatArray:
    """Return the sums over all other clusters."""
    rest: FloatArray = sums.sum(axis=1, keepdims=True) - sums
    return rest


def _moments(
    total: FloatArray, squares: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return mean and unbiased variance, shape (n_genes, n_clusters)."""
    mean = total / np.maximum(n, 1)
    # Rounding can turn a variance of 0 slightly negative.
    spread = np.maximum(squares / np.maximum(n, 1) - mean**2, 0)
    return mean, spread * n / np.maximum(n - 1, 1)


def _ranks(
    values: ClusterValues, n_in: FloatArray, n_out: FloatArray, *, tie_correct: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the AUC and the z score of the rank sum, each of shape (n_genes, n_clusters)."""
    n = n_in.sum()
    n_genes, n_clusters, n_bins = values.histogram.shape
    rank_sums, ties = np.empty((n_genes, n_clusters)), np.empty((n_genes, 1))
    step = max(_CHUNK_VALUES // (n_clusters * n_bins), 1)
    for start in range(0, n_genes, step):
        part = slice(start, start + step)
        counts = values.histogram[part].astype(np.float64)
        of_bins = counts.sum(axis=1)
        zeros = n - of_bins.sum(axis=1, keepdims=True)
        # The mean rank of a bin: after all zeros and smaller bins, in the middle of its own.
        mean_rank = zeros + np.cumsum(of_bins, axis=1) - of_bins + (of_bins + 1) / 2
        zeros_in = n_in - values.expressing[part]
        ranked = (counts @ mean_rank[:, :, None])[:, :, 0]
        rank_sums[part] = ranked + zeros_in * (zeros + 1) / 2
        tied = np.hstack([zeros, of_bins])
        ties[part] = (tied**3 - tied).sum(axis=1, keepdims=True)
    pairs = n_in * n_out
    variance = pairs * (n + 1) / 12 * np.ones_like(rank_sums)
    if tie_correct:
        variance *= 1 - ties / max(n**3 - n, 1)
    above = rank_sums - n_in * (n_in + 1) / 2
    auc = np.divide(above, pairs, out=np.full_like(above, 0.5), where=pairs > 0)
    z = np.divide(
        above - pairs / 2, np.sqrt(variance), out=np.zeros_like(above), where=variance > 0
    )
    return auc, z


def _normal_p(z: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    p: FloatArray = 2 * ndtr(-np.abs(z))
    return p


def _welch(
    mean_in: FloatArray,
    var_in: FloatArray,
    n_in: FloatArray,
    mean_out: FloatArray,
    var_out: FloatArray,
    n_out: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return Welch's t and its two-sided p value."""
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):  # constant genes, and clusters of one cell
        # Squares of roots: the bits of scipy.stats.ttest_ind_from_stats, which takes a second to load.
        of_in, of_out = np.sqrt(var_in) ** 2 / n_in, np.sqrt(var_out) ** 2 / n_out
        freedom = (of_in + of_out) ** 2 / (of_in**2 / (n_in - 1) + of_out**2 / (n_out - 1))
        freedom[np.isnan(freedom)] = 1  # a cluster of one cell
        t = (mean_in - mean_out) / np.sqrt(of_in + of_out)
        p = 2 * stdtr(freedom, -np.abs(t))
    unknown = ~np.isfinite(t) | ~np.isfinite(p)
    return np.where(unknown, 0.0, t), np.where(unknown, 1.0, p)
