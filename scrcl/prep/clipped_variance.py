"""Variance of clipped counts, relative to the variance expected at a gene's mean (``seurat_v3``).

A regression over all genes gives the variance expected at each mean. The score of a gene is the variance of
its standardised counts, after counts far above the mean are clipped. The clipping limits follow from mean
and variance, so the counts must be read a second time.

References
----------
Stuart et al., Cell 177 (2019) 1888-1902, "Feature selection for individual datasets".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.io.stream import Reading, reduce_rows
from scrcl.typing import Csr, FloatArray, IntArray

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["clip_sums", "clip_values", "expected_std", "normalized_variance"]

_SPAN = 0.3
"""Share of the genes that each local fit uses, as in Seurat and scanpy."""

_FEWEST_GENES = 10
"""The regression fails on fewer genes. On fewer than four the library aborts the whole process."""

_Sums: TypeAlias = dict[int, FloatArray]
"""Sum and sum of squares of each gene, float64, shape (n_genes, 2), for each batch."""


def expected_std(mean: FloatArray, var: FloatArray, *, name: str = "all cells") -> FloatArray:
    """Return the standard deviation expected at each gene's mean: float64, shape (n_genes,).

    A local quadratic regression of log variance on log mean, over the genes that vary. Genes that do not
    vary get 1.

    Parameters
    ----------
    mean, var
        Moments of the counts, float64, shape (n_genes,).
    name
        Name of the batch, for the error message.

    Raises
    ------
    InputError
        Too few genes vary, or too many have the same mean, for a regression.
    """
    from skmisc.loess import loess  # type: ignore[import-untyped, unused-ignore]

    varies = var > 0
    n_varying = int(varies.sum())
    if n_varying < _FEWEST_GENES:
        raise _no_regression(name, n_varying)
    model = loess(np.log10(mean[varies]), np.log10(var[varies]), span=_SPAN, degree=2)
    try:
        model.fit()
    except ValueError as error:
        raise _no_regression(name, n_varying) from error
    log_var = np.zeros(len(mean))
    log_var[varies] = model.outputs.fitted_values
    std: FloatArray = np.sqrt(10**log_var)
    return std


def clip_values(mean: FloatArray, std: FloatArray, n_cells: int) -> FloatArray:
    """Return the clipping limit of each gene: ``sqrt(n_cells)`` expected deviations above the mean."""
    limits: FloatArray = std * np.sqrt(n_cells) + mean
    return limits


def normalized_variance(
    mean: FloatArray, std: FloatArray, n_cells: int, *, sums: FloatArray, squares: FloatArray
) -> FloatArray:
    """Return the variance of the clipped, standardised values: float64, shape (n_genes,).

    Parameters
    ----------
    mean, std
        Mean of the counts before clipping, and expected standard deviation, shape (n_genes,).
    sums, squares
        Sum of the clipped values and of their squares, float64, shape (n_genes,).
    """
    return (1 / ((n_cells - 1) * np.square(std))) * (
        n_cells * np.square(mean) + squares - 2 * sums * mean
    )


def clip_sums(
    x: da.Array,
    clip: FloatArray,
    batch_of_row: IntArray,
    n_batches: int,
    *,
    reading: Reading = Reading(),
) -> tuple[FloatArray, FloatArray]:
    """Return sums and sums of squares of the clipped values, for each batch and gene, from one read.

    Memory: twice the result, and 16 bytes for each gene and batch in each loaded block.

    Parameters
    ----------
    x
        Row blocks of CSR float32, shape (n_obs, n_genes).
    clip
        Clipping limit of each gene in each batch, float64, shape (n_batches, n_genes).
    batch_of_row
        Batch of each cell, integers, shape (n_obs,). Cells with -1 are skipped.

    Returns
    -------
    sums, squares
        Ndarrays of float64, shape (n_batches, n_genes).

    Raises
    ------
    StoreError
        A block could not be read.
    """
    assert clip.shape == (n_batches, x.shape[1])
    assert len(batch_of_row) == x.shape[0]
    assert batch_of_row.max(initial=-1) < n_batches
    codes = batch_of_row.astype(np.int32, copy=False)
    work = partial(_sum_block, clip=clip, batch_of_row=codes)
    total = reduce_rows(x, work, _add, reading)
    sums, squares = np.zeros(clip.shape), np.zeros(clip.shape)
    for batch in list(total):
        sums[batch], squares[batch] = total.pop(batch).T
    return sums, squares


def _sum_block(start: int, block: Csr, *, clip: FloatArray, batch_of_row: IntArray) -> _Sums:
    """Return the sums of each batch that has rows in the block."""
    codes = batch_of_row[start : start + block.shape[0]]
    # One batch after another: the sums of one batch stay in the cache, those of all would not.
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    sums = {}
    for batch, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        if batch >= 0:
            sums[batch] = np.zeros((block.shape[1], 2))
            compiled(_add_clipped)(
                block.data, block.indices, block.indptr, rows, clip[batch], sums[batch]
            )
    return sums


def _add(total: _Sums, more: _Sums) -> _Sums:
    for batch, sums in more.items():
        if batch in total:
            total[batch] += sums
        else:
            total[batch] = sums
    return total


def _add_clipped(
    data: FloatArray,
    indices: IntArray,
    indptr: IntArray,
    rows: IntArray,
    limit: FloatArray,
    sums: FloatArray,
) -> None:
    """Add the clipped values of some rows, and their squares, to ``sums``.

    Parameters
    ----------
    data, indices, indptr
        Canonical CSR.
    rows
        Rows of one batch.
    limit
        Clipping limit of each gene in this batch, float64.
    sums
        float64, shape (n_genes, 2).
    """
    for row in rows:
        for at in range(indptr[row], indptr[row + 1]):
            gene = indices[at]
            # float64: squares of large counts must not be rounded as float32.
            value = min(np.float64(data[at]), limit[gene])
            sums[gene, 0] += value
            sums[gene, 1] += value * value


def _no_regression(name: str, n_varying: int) -> InputError:
    message = (
        "genes must vary, at different means, for the regression of flavor seurat_v3; got "
        f"{n_varying} that vary in {name}. Leave out genes that few cells have, merge small batches, "
        "or choose flavor seurat."
    )
    return InputError(message)
