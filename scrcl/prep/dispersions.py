"""Score the genes of one batch by their dispersion: variance over mean, compared with genes of a similar mean.

These are the scores of the flavors ``seurat`` and ``cell_ranger`` in scanpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from scrcl.prep.batch_moments import BatchMoments
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["score_by_dispersion", "spread_columns"]

_N_BINS = 20
_PERCENTILES = np.arange(10, 105, 5)
_NORMAL_MAD = 0.6744897501960817
"""Median absolute deviation of the standard normal distribution."""


def score_by_dispersion(
    flavor: Literal["seurat", "cell_ranger"], batch: BatchMoments, *, n_top: int
) -> dict[str, np.ndarray]:
    """Return columns of the genes in one batch, with zeros for genes that the batch lacks."""
    has = batch.gene_cells > 0
    mean = batch.mean[has]
    # The variance of a single cell is only a rounding error.
    dispersions = (batch.var[has] if batch.n_cells > 1 else np.zeros_like(mean)) / mean
    means = mean
    if flavor == "seurat":
        means = np.log1p(mean)
        dispersions = np.log(np.where(dispersions > 0, dispersions, np.nan))
        norm = _in_deviations(dispersions, _bins_of_equal_width(means))
    else:
        edges = np.unique([-np.inf, *np.percentile(mean, _PERCENTILES), np.inf]).tolist()
        bins = pd.cut(pd.Series(means), bins=edges, labels=False)
        norm = _in_median_deviations(pd.Series(dispersions), bins).to_numpy()
    found = {
        "highly_variable": _reach_cutoff(norm, n_top),
        "means": means,
        "dispersions": dispersions,
        "dispersions_norm": norm,
    }
    return found if has.all() else spread_columns(found, has, missing=0.0)


def _bins_of_equal_width(values: FloatArray) -> IntArray:
    """Return the bin of each value, as ``pandas.cut`` does with a number of bins and finite values."""
    least, most = values.min(), values.max()
    if least == most:
        step = 0.001 * abs(least) if least != 0 else 0.001
        edges = np.linspace(least - step, most + step, _N_BINS + 1)
    else:
        edges = np.linspace(least, most, _N_BINS + 1)
        edges[0] -= 0.001 * (most - least)
    return np.asarray(edges.searchsorted(values, side="left") - 1, np.int64)


def _in_deviations(dispersions: FloatArray, bins: IntArray) -> FloatArray:
    """Return the distance of each dispersion from the mean of its bin, in standard deviations of the bin."""
    average, deviation = (found[bins] for found in compiled(_of_bins)(dispersions, bins, _N_BINS))
    # A single gene in a bin scores 1, as in Seurat.
    single = np.isnan(deviation)
    with np.errstate(invalid="ignore", divide="ignore"):
        norm: FloatArray = (dispersions - np.where(single, 0.0, average)) / np.where(
            single, average, deviation
        )
    return norm


def _of_bins(values: np.ndarray, bins: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the values of each bin that are not NaN, summed as pandas sums groups.

    Thousands of batches have a table each, and pandas takes milliseconds for one, whatever its size.
    """
    n, total, error = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
    mean, squares = np.zeros(n_bins), np.zeros(n_bins)
    for at in range(len(values)):
        value, bin_ = values[at], bins[at]
        if np.isnan(value):
            continue
        n[bin_] += 1
        step = value - error[bin_]
        summed = total[bin_] + step
        error[bin_] = summed - total[bin_] - step
        total[bin_] = summed
        before = mean[bin_]
        mean[bin_] += (value - before) / n[bin_]
        squares[bin_] += (value - mean[bin_]) * (value - before)
    deviation = np.full(n_bins, np.nan)
    for bin_ in range(n_bins):
        mean[bin_] = total[bin_] / n[bin_] if n[bin_] else np.nan
        if n[bin_] > 1:
            deviation[bin_] = np.sqrt(squares[bin_] / (n[bin_] - 1))
    return mean, deviation


def _in_median_deviations(dispersions: pd.Series, bins: pd.Series) -> pd.Series:
    """Return the distance from the median of the bin, in scaled median absolute deviations of the bin."""
    distance = dispersions - dispersions.groupby(bins).transform("median")
    scaled = distance.abs() / _NORMAL_MAD
    return distance / scaled.groupby(bins).transform("median")


def _reach_cutoff(scores: FloatArray, n_top: int) -> BoolArray:
    """Return which scores are at least the ``n_top``-th highest of those that are not NaN."""
    ranked = np.sort(scores[~np.isnan(scores)])[::-1]
    if not ranked.size:
        return np.zeros(len(scores), dtype=bool)
    # As in scanpy: no score reaches a cut-off of inf, and all scores, even NaN, reach one of -inf.
    finite = np.nan_to_num(scores, nan=-np.inf)
    reached: BoolArray = finite >= ranked[min(n_top, ranked.size) - 1]
    return reached


def spread_columns(
    table: dict[str, np.ndarray], rows: BoolArray, *, missing: float
) -> dict[str, np.ndarray]:
    """Return ``table`` with its rows where ``rows`` is True, and ``missing``, False or 0 elsewhere."""
    columns = {}
    for name, values in table.items():
        fill = missing if values.dtype.kind == "f" else 0
        columns[name] = np.full(len(rows), fill, dtype=values.dtype)
        columns[name][rows] = values
    return columns
