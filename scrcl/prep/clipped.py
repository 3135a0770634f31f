"""Variances of counts against those that genes of their mean have, large values cut off.

The flavour ``seurat_v3`` fits the variance that a gene's mean lets expect, and takes the variance in
units of it; counts far above their gene's mean are cut. The cut is known only once the moments are, so
the counts are read a second time.

References
----------
Stuart et al., Cell 177 (2019) 1888-1902, "Feature selection for individual datasets".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.io.stream import reduce_rows
from scrcl.typing import Csr, FloatArray, IntArray, OnRows

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["clip_sums", "clip_values", "expected_std", "normalized_variance"]

_SPAN = 0.3
_FEWEST_GENES = 10
"""With fewer no regression succeeds, and with fewer than four the library ends the process."""

_Sums: TypeAlias = dict[int, FloatArray]
"""Sums and sums of squares of each gene, shape (n_genes, 2), by batch."""


def expected_std(mean: FloatArray, var: FloatArray, *, name: str = "all cells") -> FloatArray:
    """Return the standard deviation that a gene's mean lets expect; 1 for genes that do not vary.

    A local regression of log variance on log mean over the genes that vary.

    Parameters
    ----------
    mean, var
        Moments of the counts, float64, shape (n_genes,).
    name
        The batch, in the error message.

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
    """Return the largest value that counts: ``sqrt(n_cells)`` expected deviations above the mean."""
    limits: FloatArray = std * np.sqrt(n_cells) + mean
    return limits


def normalized_variance(
    mean: FloatArray, std: FloatArray, n_cells: int, *, sums: FloatArray, squares: FloatArray
) -> FloatArray:
    """Return the variance of the clipped values about ``mean``, in units of ``std`` squared.

    Parameters
    ----------
    sums, squares
        Sums of the clipped values and of their squares, float64, shape (n_genes,).
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
    n_workers: int = 2,
    on_rows: OnRows | None = None,
    client: Any = None,
) -> tuple[FloatArray, FloatArray]:
    """Return sums and sums of squares of the clipped values per batch and gene, from one read.

    Memory is that of the result twice, and 16 bytes for each gene and batch of a block and worker.

    Parameters
    ----------
    x
        Row blocks of CSR float32, shape (n_obs, n_genes).
    clip
        Largest value of each gene in each batch, float64, shape (n_batches, n_genes).
    batch_of_row
        Batch of each cell, integers, shape (n_obs,); -1 leaves it out.

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
    total = reduce_rows(x, work, _add, n_workers=n_workers, on_rows=on_rows, client=client)
    sums, squares = np.zeros(clip.shape), np.zeros(clip.shape)
    for batch in list(total):
        sums[batch], squares[batch] = total.pop(batch).T
    return sums, squares


def _sum_block(start: int, block: Csr, *, clip: FloatArray, batch_of_row: IntArray) -> _Sums:
    """Return the sums of the batches that have rows in the block."""
    codes = batch_of_row[start : start + block.shape[0]]
    # One batch after the other: the sums of all of them would not stay in the cache.
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
    """Add the rows' clipped values and their squares to ``sums``."""
    for row in rows:
        for at in range(indptr[row], indptr[row + 1]):
            gene = indices[at]
            value = min(np.float64(data[at]), limit[gene])
            sums[gene, 0] += value
            sums[gene, 1] += value * value


def _no_regression(name: str, n_varying: int) -> InputError:
    message = (
        "genes must be of means far enough apart for the regression of flavor seurat_v3; got "
        f"{n_varying} that vary in {name}. Leave out genes that few cells have, join small batches, "
        "or choose flavor seurat."
    )
    return InputError(message)
