"""From counts to log values: pure functions of one block of rows.

Each operation is the float32 operation that scanpy does, so that genes are chosen as scanpy would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from scrcl.typing import Csr, FloatArray

__all__ = ["TARGET_SUM", "linear_values", "log_normalize", "row_sums", "size_factors"]

TARGET_SUM = 1e4


def row_sums(block: Csr) -> FloatArray:
    """Return the sum of each row: ndarray of float64, shape (n_rows,)."""
    sums = np.zeros(block.shape[0])
    filled = np.flatnonzero(np.diff(block.indptr))
    if filled.size:  # reduceat would give an empty row its neighbour's first value
        sums[filled] = np.add.reduceat(block.data, block.indptr[filled], dtype=np.float64)
    return sums


def size_factors(sums: FloatArray, *, target_sum: float = TARGET_SUM) -> FloatArray:
    """Return what to divide each cell's counts by: float32, 1 where the cell has no counts."""
    factors = sums.astype(np.float32) / np.float32(target_sum)
    factors[factors == 0] = 1
    return factors


def log_normalize(
    block: Csr,
    *,
    target_sum: float = TARGET_SUM,
    already_log: bool,
    factors: FloatArray | None = None,
) -> Csr:
    """Return ``log(1 + counts / factor)``; the block itself where it holds log values already.

    Parameters
    ----------
    factors
        Size factors of the rows, float32, where ``block`` holds some of the genes only; otherwise
        they come from its row sums.
    """
    if already_log:
        return block
    if factors is None:
        factors = size_factors(row_sums(block), target_sum=target_sum)
    values = block.data / np.repeat(factors, np.diff(block.indptr))
    np.log1p(values, out=values)
    return sparse.csr_matrix((values, block.indices, block.indptr), shape=block.shape)


def linear_values(log_values: FloatArray) -> FloatArray:
    """Return ``exp(values) - 1`` in float32, the scale on which dispersions are taken."""
    return np.expm1(log_values)
