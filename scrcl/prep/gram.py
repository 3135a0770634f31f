"""Gram matrix of the columns of sparse rows, as a packed upper triangle.

The matrix ``X^T X`` is symmetric, so its upper triangle is enough. In float32 the triangle takes a quarter of
the memory of the whole float64 matrix, which matters because each loaded block returns one. Products are
summed in float64 over a few thousand rows before they are rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._compiled import compiled
from scrcl._threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["GramSums", "added", "column_sums", "gram_seconds", "packed_gram", "unpack"]

_LOOP_SECONDS, _BLAS_SECONDS = 1.4e-9, 0.012e-9
"""Time of one product in the loops and in ``ssyrk``, measured with 500 and 2,000 genes at 2 to 30 %."""

_SPARSE_SHARE = 0.017
"""Squared density (mean over rows) below which loops over stored values are faster than ``ssyrk``."""

_CHUNK_ROWS = 4096
"""Rows for the sparse loops. Their values stay in the caches (L2 and L3) while all genes go over them."""

_DENSE_ROWS = 2048
"""Rows that are made dense at a time."""


class GramSums(NamedTuple):
    """What is summed over rows: the values of each column, and the packed triangle."""

    sums: FloatArray
    """float64; the last axis has the columns"""
    gram: FloatArray | None
    """None if it is not needed"""


def added(total: GramSums, more: GramSums) -> GramSums:
    """Return the sums of both; those of ``total`` are overwritten."""
    total.sums[:] += more.sums
    if total.gram is None or more.gram is None:
        return total
    # Float64 from the second block on: float32 sums over an atlas would lose digits.
    wide = total.gram.astype(np.float64, copy=False)
    wide += more.gram
    return GramSums(total.sums, wide)


def packed_gram(
    indptr: IntArray, indices: IntArray, data: FloatArray, n_columns: int
) -> NDArray[np.float32]:
    """Return the upper triangle of ``X^T X``, row by row: float32, shape (M (M + 1) / 2,).

    Sparse rows are multiplied by compiled loops, denser ones by BLAS. The choice depends only on the stored
    values, so the bits do not depend on the machine's load. The relative error is about 1e-7.

    Parameters
    ----------
    indptr, indices, data
        Rows as CSR, values float32, columns ascending within a row.
    n_columns
        Number of columns, M.
    """
    # The loops do about half the sum of squared row lengths in products, BLAS half of n_rows times M^2.
    lengths = np.diff(indptr).astype(np.float64)
    if lengths @ lengths < _SPARSE_SHARE * len(lengths) * n_columns**2:
        return _sparse_products(indptr, indices, data, n_columns)
    return _dense_products(indptr, indices, data, n_columns)


def gram_seconds(n_rows: int, row_length: float, n_columns: int) -> float:
    """Return the CPU seconds of `packed_gram`, for rows of ``row_length`` stored values."""
    products = n_rows / 2
    return products * min(_LOOP_SECONDS * row_length**2, _BLAS_SECONDS * n_columns**2)


def unpack(packed: FloatArray, n_columns: int) -> NDArray[np.float64]:
    """Return the whole symmetric matrix from its packed triangle: float64, shape (M, M)."""
    whole = np.empty((n_columns, n_columns))
    start = 0
    for row in range(n_columns):
        stop = start + n_columns - row
        whole[row, row:] = packed[start:stop]
        whole[row:, row] = packed[start:stop]
        start = stop
    return whole


def column_sums(indices: IntArray, data: FloatArray, n_columns: int) -> NDArray[np.float64]:
    """Return the sum of the values of each column: float64, shape (M,)."""
    sums = np.zeros(n_columns)
    compiled(_add_values)(indices, data, sums)
    return sums


def _add_values(indices: IntArray, data: FloatArray, sums: FloatArray) -> None:
    for at in range(len(indices)):
        sums[indices[at]] += data[at]


def _sparse_products(
    indptr: IntArray, indices: IntArray, data: FloatArray, n_columns: int
) -> NDArray[np.float32]:
    """Return the packed triangle by loops over the stored values of some thousand rows at a time."""
    packed = np.zeros(n_columns * (n_columns + 1) // 2, dtype=np.float32)
    for first in range(0, len(indptr) - 1, _CHUNK_ROWS):
        ends = indptr[first : first + _CHUNK_ROWS + 1]
        starts = np.zeros(n_columns + 1, dtype=np.int64)
        positions = np.empty((ends[-1] - ends[0], 2), dtype=np.int32)
        compiled(_list_by_column)(ends, indices, starts, positions)
        compiled(_add_products, contract=True)(starts, positions, indices, data, packed)
    return packed


def _list_by_column(
    indptr: IntArray, indices: IntArray, starts: IntArray, positions: IntArray
) -> None:
    """List the stored values of each column, by a counting sort.

    Parameters
    ----------
    indptr, indices
        Row starts of the chunk, and column of each stored value.
    starts
        Output, int64, shape (n_columns + 1,), zero at first: column c gets the entries ``starts[c]`` to
        ``starts[c + 1]`` of ``positions``.
    positions
        Output, int32, shape (n_values, 2): position of the value in ``indices``, and the end of its row.
    """
    for at in range(indptr[0], indptr[-1]):
        starts[np.int64(indices[at]) + 1] += 1
    for column in range(len(starts) - 1):
        starts[column + 1] += starts[column]
    free = starts.copy()
    # Rows are visited in order, so the values of a column stay in the order of the rows.
    for row in range(len(indptr) - 1):
        for at in range(indptr[row], indptr[row + 1]):
            entry = free[indices[at]]
            free[indices[at]] = entry + 1
            positions[entry, 0] = at
            positions[entry, 1] = indptr[row + 1]


def _add_products(
    starts: IntArray, positions: IntArray, indices: IntArray, data: FloatArray, packed: FloatArray
) -> None:
    """Add the products of each column with itself and with all later columns to ``packed``.

    Parameters
    ----------
    starts, positions
        Outputs of `_list_by_column`.
    indices, data
        Columns, ascending within each row, and values.
    packed
        Upper triangle, row by row: float32, shape (M (M + 1) / 2,).
    """
    n_columns = len(starts) - 1
    # One row of the matrix in float64. With 2,000 columns it takes 16 kB and stays in the first-level cache
    # while all rows that contain the column are added to it. It is zero at the start of each column.
    sums = np.zeros(n_columns, np.float64)
    offset = 0
    for column in range(n_columns):
        for entry in range(starts[column], starts[column + 1]):
            first = np.int64(positions[entry, 0])
            value = np.float64(data[first])
            # Columns ascend within a row: what follows `first` is this column and the later ones.
            for at in range(first, np.int64(positions[entry, 1])):
                sums[indices[at]] += value * data[at]
        if starts[column] < starts[column + 1]:
            for other in range(column, n_columns):
                packed[offset + other - column] += sums[other]
                sums[other] = 0
        # Row `column` of the triangle has n_columns - column entries.
        offset += n_columns - column


def _dense_products(
    indptr: IntArray, indices: IntArray, data: FloatArray, n_columns: int
) -> NDArray[np.float32]:
    """Return the packed triangle from dense chunks of rows, by BLAS ``ssyrk`` (one triangle of a product)."""
    from scipy import sparse
    from scipy.linalg.blas import ssyrk

    # Fortran order, or f2py would copy the matrix instead of adding to it in place.
    total = np.zeros((n_columns, n_columns), dtype=np.float32, order="F")
    with one_blas_thread():
        for first in range(0, len(indptr) - 1, _DENSE_ROWS):
            ends = indptr[first : first + _DENSE_ROWS + 1].astype(np.int64)
            values = slice(ends[0], ends[-1])
            rows = sparse.csr_matrix(
                (data[values], indices[values].astype(np.int32), ends - ends[0]),
                shape=(len(ends) - 1, n_columns),
            )
            total = ssyrk(1.0, rows.toarray().T, beta=1.0, c=total, lower=1, overwrite_c=1)
    # The lower triangle in Fortran order is the upper one in C order.
    upper = total.T
    return np.concatenate([upper[row, row:] for row in range(n_columns)])
