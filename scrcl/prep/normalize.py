"""Counts to log values: pure functions of one block of rows.

Each operation is the float32 operation of scanpy, so the same genes are selected as with scanpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.io.rows import StoredRows
    from scrcl.typing import Csr, FloatArray

__all__ = [
    "TARGET_SUM",
    "at_depth",
    "counts_of",
    "linear_values",
    "log_normalize",
    "row_sums",
    "size_factors",
]

TARGET_SUM = 1e4
"""Sum of each cell after normalisation, as is usual with scanpy."""


def row_sums(block: Csr | StoredRows) -> FloatArray:
    """Return the sum of each row: ndarray of float64, shape (n_rows,)."""
    sums = np.zeros(len(block.indptr) - 1)
    filled = np.flatnonzero(np.diff(block.indptr))
    if filled.size:  # for an empty row, reduceat would return the first value of the next row
        sums[filled] = np.add.reduceat(block.data, block.indptr[filled], dtype=np.float64)
    return sums


def size_factors(sums: FloatArray, *, target_sum: float = TARGET_SUM) -> FloatArray:
    """Return the divisor of each cell's counts: float32, 1 for a cell without counts."""
    factors = sums.astype(np.float32) / np.float32(target_sum)
    factors[factors == 0] = 1
    return factors


def log_normalize(block: Csr, *, factors: FloatArray | None = None) -> Csr:
    """Return ``log(1 + counts / factor)``.

    Parameters
    ----------
    factors
        Size factors of the rows, float32. Needed where ``block`` holds only some of the genes; by default
        they follow from its row sums.
    """
    if factors is None:
        factors = size_factors(row_sums(block))
    values = block.data / np.repeat(factors, np.diff(block.indptr))
    np.log1p(values, out=values)
    return sparse.csr_matrix((values, block.indices, block.indptr), shape=block.shape)


def at_depth(logs: FloatArray, scale: float | FloatArray) -> FloatArray:
    """Return what log values are if sums of cells are ``scale`` times as large, in the dtype of ``logs``.

    Parameters
    ----------
    scale
        Of all values, or of each.
    """
    deeper: FloatArray = np.expm1(logs) * np.asarray(scale, logs.dtype)
    return np.log1p(deeper)


def counts_of(rows: Csr, totals: FloatArray) -> NDArray[np.float64]:
    """Return the counts behind log values: shape (nnz,).

    `log_normalize` gives ``log(1 + count / total)`` in float32. Its error is below half a count up to 100,000.

    Parameters
    ----------
    totals
        Size factors of the rows.
    """
    factors = np.repeat(np.asarray(totals, np.float64), np.diff(rows.indptr))
    counts: NDArray[np.float64] = np.rint(np.expm1(rows.data.astype(np.float64)) * factors)
    return counts


def linear_values(log_values: FloatArray) -> FloatArray:
    """Return ``exp(values) - 1`` in float32, the scale on which dispersions are computed."""
    return np.expm1(log_values)
