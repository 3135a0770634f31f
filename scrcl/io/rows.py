"""Rows of a matrix: as a reader returns them, as dask blocks, and in the one form that later steps read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import dask.array as da
import numpy as np
from scipy import sparse

from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.typing import Csr, IntArray

__all__ = [
    "NO_ROWS",
    "RowReader",
    "StoredRows",
    "as_csr",
    "canonical_csr",
    "canonical_rows",
    "column_lookup",
    "plain_rows",
    "require_format",
    "rows_from_reader",
    "select_columns",
    "with_columns",
]

RowReader: TypeAlias = Callable[[int, int], Any]
"""Returns the rows ``start`` to ``stop`` as `StoredRows`, a scipy sparse matrix or an ndarray."""

NO_ROWS = sparse.csr_matrix((0, 0), dtype=np.float32)
"""What dask takes each block for: CSR float32."""

_NATIVE = {"<f2": np.dtype(np.float32), ">f2": np.dtype(np.float32)}
_serial = count()


class StoredRows(NamedTuple):
    """Rows as a sparse store holds them: unchecked CSR arrays of any dtype.

    A scipy matrix would widen small indices. Compiled loops work on the stored dtypes and avoid that cost.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: IntArray
    n_vars: int


def rows_from_reader(read: RowReader, *, shape: tuple[int, int], block_rows: int) -> da.Array:
    """Return a dask array with the row blocks ``read(start, stop)`` and one block of columns.

    Its nominal dtype is float32, the dtype of the blocks after conversion.
    """
    whole, rest = divmod(shape[0], block_rows)
    chunks = ((block_rows,) * whole + ((rest,) if rest else ()), (shape[1],))
    # A given name keeps dask from hashing everything that `read` refers to.
    name = f"rows-{next(_serial)}"
    return da.map_blocks(
        partial(_read_block, read), chunks=chunks, dtype=np.float32, meta=NO_ROWS, name=name
    )


def _read_block(read: RowReader, block_info: Any = None) -> Any:
    start, stop = block_info[None]["array-location"][0]
    return read(start, stop)


def as_csr(block: Any) -> Csr:
    """Return the rows of a reader as scipy CSR in their stored dtype, after a check of sparse arrays.

    Raises
    ------
    ValueError
        The column indices or row pointers are damaged.
    """
    if isinstance(block, StoredRows):
        n_rows, n_values = len(block.indptr) - 1, len(block.data)
        # Routines of scipy do not check indices and would read outside of the arrays.
        if (
            n_values
            and not 0 <= int(block.indices.min()) <= int(block.indices.max()) < block.n_vars
        ):
            message = f"column indices must be between 0 and {block.n_vars - 1}"
            raise ValueError(message)
        indices = block.indices.astype(np.int32, copy=False)
        data = _for_scipy(block.data)
        return sparse.csr_matrix((data, indices, block.indptr), shape=(n_rows, block.n_vars))
    csr = sparse.csr_matrix(_for_scipy(block) if isinstance(block, np.ndarray) else block)
    require_format(csr)
    return csr


def require_format(matrix: Any) -> None:
    """Check the arrays of a compressed matrix. Routines of scipy would read outside of them.

    Raises
    ------
    InputError
        They do not fit its shape, or each other.
    """
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        message = f"The matrix must have indices and ends that fit its shape; got: {error}. Make it again."
        raise InputError(message) from error


def _for_scipy(values: np.ndarray) -> np.ndarray:
    """Return ``values`` in a dtype that scipy accepts: no float16, and native byte order."""
    native = _NATIVE.get(values.dtype.str, values.dtype.newbyteorder("="))
    return values.astype(native, copy=False)


def plain_rows(block: Any) -> StoredRows:
    """Return rows of any kind as arrays of a few dtypes, so that compiled loops have few variants.

    Values are uint8, uint16 or float32, and columns uint16 or int32. Order and duplicates are left alone.
    """
    if not isinstance(block, StoredRows):
        csr = as_csr(block)
        block = StoredRows(csr.data, csr.indices, csr.indptr, csr.shape[1])
    with np.errstate(over="ignore"):  # overflow gives inf, which the statistics report
        return StoredRows(
            _plain(block.data, ("uint8", "uint16", "float32")),
            _plain(block.indices, ("uint16", "int32")),
            block.indptr.astype(np.int64, copy=False),
            block.n_vars,
        )


def _plain(values: np.ndarray, dtypes: tuple[str, ...]) -> np.ndarray:
    """Return ``values`` unchanged if they have one of the dtypes, else converted to the last one."""
    fits = values.dtype.name in dtypes and values.dtype.isnative
    return np.ascontiguousarray(values if fits else values.astype(dtypes[-1]))


def canonical_rows(block: Any) -> Csr:
    """Return rows of any kind as canonical CSR float32: sorted, no duplicates, no stored zeros.

    The result shares memory with ``block`` if that is already canonical. ``block`` is never changed.

    Raises
    ------
    ValueError
        The column indices or row pointers are damaged.
    """
    with np.errstate(over="ignore"):  # overflow gives inf, which the statistics report
        csr = as_csr(block).astype(np.float32, copy=False)
    return canonical_csr(csr)


def canonical_csr(csr: Csr) -> Csr:
    """Return ``csr`` if it is canonical, else a sorted copy without duplicates and stored zeros."""
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    if np.count_nonzero(csr.data) < csr.data.size:
        csr = csr.copy()
        csr.eliminate_zeros()
    return csr


def column_lookup(columns: IntArray, n_vars: int) -> IntArray:
    """Return the new position of each column, -1 for columns to drop: int32, shape (n_vars,)."""
    lookup = np.full(n_vars, -1, dtype=np.int32)
    lookup[columns] = np.arange(len(columns), dtype=np.int32)
    return lookup


def select_columns(block: Csr, *, lookup: IntArray, n_columns: int) -> Csr:
    """Return the columns that have a position in ``lookup``, at that position. Rows may be unsorted.

    Parameters
    ----------
    lookup
        New position of each column, -1 for columns to drop; see `column_lookup`.
    """
    positions = lookup[block.indices]
    selected = positions >= 0
    ends = np.zeros(len(selected) + 1, dtype=block.indptr.dtype)
    np.cumsum(selected, out=ends[1:])
    return sparse.csr_matrix(
        (block.data[selected], positions[selected], ends[block.indptr]),
        shape=(block.shape[0], n_columns),
    )


def _stored_columns(block: Any, *, lookup: IntArray, n_columns: int) -> Csr:
    return select_columns(as_csr(block), lookup=lookup, n_columns=n_columns)


def with_columns(x: da.Array, columns: IntArray) -> da.Array:
    """Return ``x`` with only the given columns, in that order; ``x`` itself if these are all, in order."""
    n_vars = x.shape[1]
    if np.array_equal(columns, np.arange(n_vars)):
        return x
    return x.map_blocks(
        _stored_columns,
        lookup=column_lookup(columns, n_vars),
        n_columns=len(columns),
        chunks=(x.chunks[0], (len(columns),)),
        dtype=x.dtype,
        meta=NO_ROWS,
    )
