"""Select highly variable genes from their moments, in four flavors.

Three give what ``scanpy.pp.highly_variable_genes`` gives for the matrix in memory, including ties and
missing values. With batches, genes are selected in each batch, and those that most batches select are taken.
``variance`` takes the genes of the largest variance over all cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BatchMoments", "Flavor", "highly_variable"]

Flavor: TypeAlias = Literal["seurat", "cell_ranger", "seurat_v3", "variance"]

_ClipSums: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Takes clipping limits, float64, shape (n_batches, n_genes). Returns the sums of the clipped values and of
their squares, of the same shape. See `scrcl.prep.clipped_variance.clip_sums`."""

_N_BINS = 20
_PERCENTILES = np.arange(10, 105, 5)
_NORMAL_MAD = 0.6744897501960817
"""Median absolute deviation of the standard normal distribution."""


@dataclass(frozen=True)
class BatchMoments:
    """Moments of each gene over the cells of one batch, or over all cells.

    Parameters
    ----------
    n_cells
        Number of cells.
    gene_cells
        Number of cells in which each gene is detected, integers, shape (n_genes,). A gene with 0 in all
        batches is never selected, so set it to 0 to exclude a gene.
    mean, var
        Mean and variance (divisor n - 1), float64, shape (n_genes,). They are those of the normalised values
        for ``seurat``, of their logarithms for ``cell_ranger``, and of the counts for other flavors.
    name
        Name of the batch, for error messages.
    """

    n_cells: int
    gene_cells: IntArray
    mean: FloatArray
    var: FloatArray
    name: str = "all cells"

    def of(self, genes: BoolArray) -> BatchMoments:
        """Return the moments of the given genes."""
        return BatchMoments(
            self.n_cells, self.gene_cells[genes], self.mean[genes], self.var[genes], self.name
        )


def highly_variable(
    flavor: Flavor,
    batches: Sequence[BatchMoments],
    *,
    n_top: int,
    clip_sums: _ClipSums | None = None,
    gene_names: pd.Index | None = None,
) -> tuple[BoolArray, pd.DataFrame]:
    """Return the highly variable genes, but for ``variance`` the same as with scanpy.

    The result equals ``scanpy.pp.filter_genes(adata, min_cells=1)`` followed by
    ``scanpy.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=n_top)``, with ``batch_key`` if there
    are several batches. Batches without detected genes are ignored. Two cases fail in scanpy but not here: a
    batch in which no gene varies (a single cell) selects none, and bins with equal edges become one bin.

    Parameters
    ----------
    batches
        Moments of the same genes in each batch, in the order of scanpy (that of the categories). A single
        entry stands for all cells.
    n_top
        Number of genes to select. ``seurat`` and ``cell_ranger`` with one batch select all ties at the
        cut-off and no genes without a score, so they may return another number.
    clip_sums
        The second read of the counts. ``seurat_v3`` needs it, other flavors do not.
    gene_names
        Unique names. ``seurat`` and ``cell_ranger`` break ties between batches by them, as scanpy does.
        Without names the first gene is preferred.

    Returns
    -------
    selected
        Ndarray of bool, shape (n_genes,).
    table
        One row for each gene, with the columns that scanpy adds to ``var``. Genes that no cell has get NaN,
        False or 0.

    Raises
    ------
    InputError
        ``n_top`` is below 1, no gene is detected in any cell, or no gene is more variable than others. With
        ``seurat_v3`` also: too few genes of a batch vary, or too many have the same mean, for the regression.
        Scanpy fails on these too.

    References
    ----------
    Satija et al., Nature Biotechnology 33 (2015) 495-502 (``seurat``). Zheng et al., Nature
    Communications 8 (2017) 14049 (``cell_ranger``). Stuart et al., Cell 177 (2019) 1888-1902
    (``seurat_v3``).
    """
    if n_top < 1:
        message = f"n_top must be at least 1; got {n_top}."
        raise InputError(message)
    detected = reduce(np.logical_or, (batch.gene_cells > 0 for batch in batches))
    if not detected.any():
        message = "batches must hold cells with counts; got none. Check the input."
        raise InputError(message)
    if flavor == "seurat_v3":
        assert clip_sums is not None
        table = _by_variance(batches, detected, n_top=n_top, clip_sums=clip_sums)
    elif flavor == "variance":
        table = _by_plain_variance(batches, detected, n_top=n_top)
    else:
        filled = [batch.of(detected) for batch in batches if batch.gene_cells.any()]
        if len(batches) == 1:
            table = pd.DataFrame(_by_dispersion(flavor, filled[0], n_top=n_top))
        else:
            names = None if gene_names is None else gene_names[detected]
            table = _by_votes(flavor, filled, n_top=n_top, gene_names=names)
        if not table.get("highly_variable_nbatches", table["highly_variable"]).any():
            message = (
                "genes must vary among the cells, some more than others of the same mean; got none that do. "
                "Check the input, or choose another flavor."
            )
            raise InputError(message)
    if not detected.all():
        columns = {str(name): column.to_numpy() for name, column in table.items()}
        table = pd.DataFrame(_spread(columns, detected, missing=np.nan))
    return table["highly_variable"].to_numpy(), table


def _by_dispersion(
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
    return found if has.all() else _spread(found, has, missing=0.0)


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


def _by_votes(
    flavor: Literal["seurat", "cell_ranger"],
    batches: Sequence[BatchMoments],
    *,
    n_top: int,
    gene_names: pd.Index | None,
) -> pd.DataFrame:
    """Return the table of genes, selected by the number of batches that select them, then by mean score."""
    n_genes = len(batches[0].mean)
    names = ["means", "dispersions", "dispersions_norm"]
    averages = {name: _Average(n_genes) for name in names}
    votes = np.zeros(n_genes, dtype=np.int64)
    for batch in batches:
        found = _by_dispersion(flavor, batch, n_top=n_top)
        votes += found["highly_variable"]
        for name, average in averages.items():
            average.add(found[name])
    table = pd.DataFrame({name: average.value() for name, average in averages.items()})
    scores = table["dispersions_norm"].to_numpy()
    order = np.arange(n_genes) if gene_names is None else gene_names.argsort()
    order = order[np.lexsort((-scores[order], -votes[order]))]
    table.insert(0, "highly_variable", _marked(order[:n_top], n_genes))
    table["highly_variable_nbatches"] = votes
    table["highly_variable_intersection"] = votes == len(batches)
    return table


class _Average:
    """Mean of the values that are not NaN, by compensated (Kahan) summation as in pandas groups."""

    def __init__(self, n: int) -> None:
        self._total, self._error = np.zeros(n), np.zeros(n)
        self._count = np.zeros(n, dtype=np.int64)

    def add(self, values: FloatArray) -> None:
        """Add one value for each gene."""
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):  # scores can be infinite
            step = values - self._error
            total = self._total + step
            error = total - self._total - step
        self._error = np.where(known, np.where(np.isnan(error), 0, error), self._error)
        self._total = np.where(known, total, self._total)
        self._count += known

    def value(self) -> FloatArray:
        """Return the means, NaN where there was no value."""
        means: FloatArray = self._total / np.where(self._count, self._count, np.nan)
        return means


def _by_variance(
    batches: Sequence[BatchMoments], detected: BoolArray, *, n_top: int, clip_sums: _ClipSums
) -> pd.DataFrame:
    """Return the table of genes, selected by the median of their ranks in the batches that select them."""
    filled = {at: batch.of(detected) for at, batch in enumerate(batches) if batch.gene_cells.any()}
    scores = _normalized_variances(filled, detected, n_batches=len(batches), clip_sums=clip_sums)
    # The default sort, which is not stable, as in scanpy. So ties fall the same way.
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1).astype(np.float32)
    votes = (ranks < n_top).sum(axis=0)
    voted = np.ma.masked_greater_equal(ranks, n_top)
    rank = np.ma.filled(np.ma.median(voted, axis=0), np.nan)  # type: ignore[no-untyped-call]
    mean, var = _pooled(list(filled.values()))
    table = pd.DataFrame(
        {
            "highly_variable": _marked(np.lexsort((-votes, rank))[:n_top], len(mean)),
            "highly_variable_rank": rank,
            "means": mean,
            "variances": var,
            "variances_norm": scores.mean(axis=0),
        }
    )
    if len(batches) > 1:
        table["highly_variable_nbatches"] = votes
    return table


def _by_plain_variance(
    batches: Sequence[BatchMoments], detected: BoolArray, *, n_top: int
) -> pd.DataFrame:
    """Return the table of genes, selected by their variance over the cells of all batches."""
    mean, var = _pooled([batch.of(detected) for batch in batches if batch.gene_cells.any()])
    order = np.argsort(-var, kind="stable")
    return pd.DataFrame(
        {"highly_variable": _marked(order[:n_top], len(mean)), "means": mean, "variances": var}
    )


def _normalized_variances(
    filled: dict[int, BatchMoments], detected: BoolArray, *, n_batches: int, clip_sums: _ClipSums
) -> FloatArray:
    """Return the scores of the detected genes: ndarray of float64, shape (len(filled), n_detected)."""
    from scrcl.prep.clipped_variance import clip_values, expected_std, normalized_variance

    limits = np.zeros((n_batches, len(detected)))
    stds = {}
    for at, batch in filled.items():
        stds[at] = expected_std(batch.mean, batch.var, name=batch.name)
        limits[at, detected] = clip_values(batch.mean, stds[at], batch.n_cells)
    sums, squares = clip_sums(limits)
    scores = [
        normalized_variance(
            batch.mean,
            stds[at],
            batch.n_cells,
            sums=sums[at, detected],
            squares=squares[at, detected],
        )
        for at, batch in filled.items()
    ]
    return np.stack(scores)


def _pooled(batches: Sequence[BatchMoments]) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance over the cells of all batches, from those of each batch."""
    if len(batches) == 1:
        return batches[0].mean, batches[0].var
    n_cells = sum(batch.n_cells for batch in batches)
    mean = np.zeros_like(batches[0].mean)
    squares = np.zeros_like(mean)
    for batch in batches:
        mean += batch.n_cells / n_cells * batch.mean
    for batch in batches:
        squares += (batch.n_cells - 1) * batch.var + batch.n_cells * (batch.mean - mean) ** 2
    return mean, squares / (n_cells - 1)


def _marked(positions: IntArray, n: int) -> BoolArray:
    marked = np.zeros(n, dtype=bool)
    marked[positions] = True
    return marked


def _spread(
    table: dict[str, np.ndarray], rows: BoolArray, *, missing: float
) -> dict[str, np.ndarray]:
    """Return ``table`` with its rows where ``rows`` is True, and ``missing``, False or 0 elsewhere."""
    columns = {}
    for name, values in table.items():
        fill = missing if values.dtype.kind == "f" else 0
        columns[name] = np.full(len(rows), fill, dtype=values.dtype)
        columns[name][rows] = values
    return columns
