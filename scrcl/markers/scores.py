"""Scores of every gene in every cluster against all other cells: Wilcoxon's rank sums and Welch's t.

Both are what ``scanpy.tl.rank_genes_groups`` computes, without its correction for ties unless asked for. Rank sums
come from histograms: values in one bin count as ties. With batches, a cluster is compared with the other cells of each
batch, and the batches are combined: a gene that one donor expresses everywhere then marks no cluster of this donor.

References
----------
van Elteren: On the combination of independent two-sample tests of Wilcoxon, Bulletin of the Institute of International
Statistics 37 (1960), 351-361.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scrcl.markers.values import ClusterValues
    from scrcl.typing import FloatArray, IntArray

__all__ = ["GeneScores", "Test", "fold_change", "gene_scores", "gene_scores_within"]

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
    above, variance = _ranks(values, n_in, n_out, tie_correct=tie_correct)
    pairs = n_in * n_out
    if test == "wilcoxon":
        score, p_value = _normal(above - pairs / 2, variance)
    else:
        score, p_value = _welch(mean_in, var_in, n_in, mean_out, var_out, n_out)
    return GeneScores(
        _rounded(score),
        p_value,
        np.divide(above, pairs, out=np.full_like(above, 0.5), where=pairs > 0),
        fold_change(mean_in, mean_out),
        share_in=values.expressing / np.maximum(n_in, 1),
        share_out=_rest(values.expressing) / np.maximum(n_out, 1),
    )


def gene_scores_within(
    values: ClusterValues,
    cluster_of: IntArray,
    batch_of: IntArray,
    *,
    test: Test,
    tie_correct: bool = False,
) -> GeneScores:
    """Compare each cluster with the other cells of each batch, gene by gene, and combine the batches.

    Rank sums are combined by van Elteren, with weights for which all cells count alike; means and shares as in a
    linear model with batches, so cells of batches that the cluster lacks count nowhere. A cluster that no batch can
    compare, as it has no other cells, is compared with all other cells.

    Parameters
    ----------
    values
        By pairs of a batch and a cluster.
    cluster_of, batch_of
        ndarrays of int, shape (n_pairs,): the cluster and the batch of each pair.
    """
    whole = gene_scores(values.pooled(cluster_of), test=test, tie_correct=tie_correct)
    sums = {name: np.zeros_like(whole.score) for name in _SUMS}
    for batch in np.unique(batch_of):
        at = np.flatnonzero(batch_of == batch)
        if len(at) > 1:
            clusters = cluster_of[at]
            for name, part in _of_batch(values.of(at), tie_correct=tie_correct).items():
                sums[name][:, clusters] += part
    with np.errstate(divide="ignore", invalid="ignore"):  # clusters without a comparison
        if test == "wilcoxon":
            score, p_value = _normal(sums["excess"], sums["variance"])
        else:
            freedom = sums["error"] ** 2 / sums["error_by_freedom"]
            score, p_value = _student(sums["mean_in"] - sums["mean_out"], sums["error"], freedom)
        fold = fold_change(*(sums[name] / sums["weight"] for name in ("mean_in", "mean_out")))
        auc = sums["above"] / sums["pairs"]
        shares = [sums[name] / sums["weight"] for name in ("share_in", "share_out")]
    found = sums["weight"] > 0
    combined = (_rounded(score), p_value, auc, fold, *shares)
    names = ("score", "p_value", "auc", "log_fold_change", "share_in", "share_out")
    return whole._replace(
        **{
            name: np.where(found, part, getattr(whole, name))
            for name, part in zip(names, combined, strict=True)
        }
    )


_SUMS = (
    "excess", "variance", "above", "pairs", "weight", "mean_in", "mean_out", "error", "error_by_freedom",
    "share_in", "share_out",
)  # fmt: skip


def _of_batch(values: ClusterValues, *, tie_correct: bool) -> dict[str, FloatArray]:
    """Return what a batch adds to the sums of its clusters."""
    n_in = values.cells.astype(np.float64)
    n_out = n_in.sum() - n_in
    above, variance = _ranks(values, n_in, n_out, tie_correct=tie_correct)
    mean_in, var_in = _moments(values.total, values.squares, n_in)
    mean_out, var_out = _moments(_rest(values.total), _rest(values.squares), n_out)
    pairs, n = n_in * n_out, n_in.sum()
    weight = pairs / n
    of_in, of_out = weight**2 * var_in / n_in, weight**2 * var_out / n_out
    by_freedom = of_in**2 / np.maximum(n_in - 1, 1) + of_out**2 / np.maximum(n_out - 1, 1)
    parts = (
        (above - pairs / 2) / (n + 1),
        variance / (n + 1) ** 2,
        above,
        pairs,
        weight,
        weight * mean_in,
        weight * mean_out,
        of_in + of_out,
        by_freedom,
        weight * values.expressing / n_in,
        weight * _rest(values.expressing) / np.maximum(n_out, 1),
    )
    return dict(zip(_SUMS, parts, strict=True))


def _rounded(score: FloatArray) -> FloatArray:
    """Return scores as precise as scanpy's: genes that one cell has all have the same t, but for rounding errors."""
    return score.astype(np.float32).astype(np.float64)


def fold_change(mean_in: FloatArray, mean_out: FloatArray) -> FloatArray:
    """Return the log fold change: expm1 of the mean log values, and 1e-9 against division by 0, both as in scanpy."""
    fold: FloatArray = np.log2((np.expm1(mean_in) + 1e-9) / (np.expm1(mean_out) + 1e-9))
    return fold


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
    """Return the pairs in which the cell of the cluster has the larger value, and the variance of that number.

    Each of shape (n_genes, n_clusters); ties count half.
    """
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
    return rank_sums - n_in * (n_in + 1) / 2, variance


def _normal(excess: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return z and its two-sided p value."""
    z = np.divide(excess, np.sqrt(variance), out=np.zeros_like(excess), where=variance > 0)
    return z, _normal_p(z)


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
    with np.errstate(divide="ignore", invalid="ignore"):  # constant genes, and clusters of one cell
        # Squares of roots: the bits of scipy.stats.ttest_ind_from_stats, which takes a second to load.
        of_in, of_out = np.sqrt(var_in) ** 2 / n_in, np.sqrt(var_out) ** 2 / n_out
        freedom = (of_in + of_out) ** 2 / (of_in**2 / (n_in - 1) + of_out**2 / (n_out - 1))
        freedom[np.isnan(freedom)] = 1  # a cluster of one cell
        return _student(mean_in - mean_out, of_in + of_out, freedom)


def _student(
    difference: FloatArray, error: FloatArray, freedom: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return t and its two-sided p value; 0 and 1 where it is not defined."""
    from scipy.special import stdtr

    t = difference / np.sqrt(error)
    p = 2 * stdtr(freedom, -np.abs(t))
    unknown = ~np.isfinite(t) | ~np.isfinite(p)
    return np.where(unknown, 0.0, t), np.where(unknown, 1.0, p)
