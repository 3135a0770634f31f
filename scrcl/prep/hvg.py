"""Select highly variable genes from their moments, in four flavors.

Three give what ``scanpy.pp.highly_variable_genes`` gives for the matrix in memory, including ties and
missing values. With batches, genes are selected in each batch, and those that most batches select are taken.
``variance`` takes the genes of the largest variance over all cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from scrcl.errors import InputError
from scrcl.prep.batch_moments import BatchMoments, pooled_moments
from scrcl.prep.dispersions import score_by_dispersion, spread_columns
from scrcl.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Flavor", "highly_variable"]

Flavor: TypeAlias = Literal["seurat", "cell_ranger", "seurat_v3", "variance"]

_ClipSums: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Takes clipping limits, float64, shape (n_batches, n_genes). Returns the sums of the clipped values and of
their squares, of the same shape. See `scrcl.prep.clipped_variance.clip_sums`."""


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
            table = pd.DataFrame(score_by_dispersion(flavor, filled[0], n_top=n_top))
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
        table = pd.DataFrame(spread_columns(columns, detected, missing=np.nan))
    return table["highly_variable"].to_numpy(), table


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
        found = score_by_dispersion(flavor, batch, n_top=n_top)
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
    mean, var = pooled_moments(list(filled.values()))
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
    mean, var = pooled_moments([batch.of(detected) for batch in batches if batch.gene_cells.any()])
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


def _marked(positions: IntArray, n: int) -> BoolArray:
    marked = np.zeros(n, dtype=bool)
    marked[positions] = True
    return marked
