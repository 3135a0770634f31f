"""An input opened lazily: names and annotations in memory, the values as dask row blocks.

A reader of any format needs two things: a description, and a way to get rows. Every block that
leaves here is the same kind of thing (`canonical_rows`), so that nothing downstream asks about
dtypes, dense storage, unsorted columns, duplicates or stored zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import dask.array as da
import numpy as np
from scipy import sparse

from scrcl.errors import InputError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.typing import Csr, IntArray

__all__ = [
    "CellMatrix",
    "Layout",
    "RowReader",
    "StoredRows",
    "as_csr",
    "canonical_rows",
    "column_lookup",
    "plain_rows",
    "rows_from_reader",
    "select_columns",
    "tidied",
    "with_columns",
]

Layout: TypeAlias = Literal["csr", "csc", "dense"]

RowReader: TypeAlias = Callable[[int, int], Any]
"""Returns the rows ``start`` to ``stop`` as `StoredRows`, a scipy sparse matrix or an ndarray."""

_EMPTY = sparse.csr_matrix((0, 0), dtype=np.float32)
_NATIVE = {"<f2": np.dtype(np.float32), ">f2": np.dtype(np.float32)}
_serial = count()


class StoredRows(NamedTuple):
    """Rows as a sparse store holds them: CSR arrays of any dtype, not looked at yet.

    scipy would widen small indices at once; who can work on the stored types saves that.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: IntArray
    n_vars: int


@dataclass(frozen=True)
class CellMatrix:
    """Cells by genes, not yet read.

    Parameters
    ----------
    label
        What to call the input: the file name, or ``"AnnData object"``.
    n_obs, n_vars
        Cells and genes.
    dtype
        Type of the stored values; blocks are float32 whatever it is.
    layout
        How the store lies: ``"csc"`` means that a copy by rows is made before the first read.
    nnz
        Stored values; None where the store is dense.
    chunk_rows
        Rows that the store reads as one piece, roughly; None where it has no pieces.
    var
        Annotations of the genes, with unique names.
    load_obs, load_obsm
        Read the annotations of the cells, and their coordinates (two or three columns each). Names of
        cells take more memory than all else that grows with them: `obs` and `obsm` read at first use.
    identity
        What fingerprints the input, ready for JSON.
    check_obs
        Reads the annotations of the cells through, a piece at a time: raises StoreError where they are
        damaged.
    rows
        Dask array of row blocks as they are stored, from a number of rows.
    """

    label: str
    n_obs: int
    n_vars: int
    dtype: np.dtype[Any]
    layout: Layout
    nnz: int | None
    chunk_rows: int | None
    var: pd.DataFrame = field(repr=False)
    load_obs: Callable[[], pd.DataFrame] = field(repr=False)
    load_obsm: Callable[[], dict[str, np.ndarray]] = field(repr=False)
    identity: dict[str, Any] = field(repr=False)
    rows: Callable[[int], da.Array] = field(repr=False)
    check_obs: Callable[[], None] = field(default=lambda: None, repr=False)

    def __post_init__(self) -> None:
        if not (self.n_obs and self.n_vars):
            msg = (
                f"{self.label} must hold at least one cell and one gene; got {self.n_obs:,} cells "
                f"and {self.n_vars:,} genes."
            )
            raise InputError(msg)
        self._require_names("gene", len(self.var), self.n_vars)

    @cached_property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells, with unique names, kept in memory once they were asked for."""
        return self.fresh_obs()

    def fresh_obs(self) -> pd.DataFrame:
        """Return the annotations of the cells, read anew: nothing of them is kept here.

        Raises
        ------
        StoreError
            They are damaged, or not one for each cell.
        """
        table = self.load_obs()
        self._require_names("cell", len(table), self.n_obs)
        return table

    @cached_property
    def obsm(self) -> dict[str, np.ndarray]:
        """Coordinates of the cells, kept in memory once they were asked for."""
        return self.load_obsm()

    def _require_names(self, kind: str, n_names: int, n_needed: int) -> None:
        if n_names != n_needed:
            msg = (
                f"{self.label} must name each row and column; got {n_names:,} {kind} names for "
                f"{n_needed:,} {kind}s."
            )
            raise StoreError(msg)

    def x(self, block_rows: int) -> da.Array:
        """Return the matrix as row blocks of scipy CSR float32, shape (n_obs, n_vars), all columns.

        Blocks are canonical: sorted columns, no duplicates, no stored zeros. They may share memory
        with an input that is held in memory: never write into them.
        """
        if block_rows < 1:
            raise InputError(f"block_rows must be at least 1; got {block_rows}.")
        return self.rows(min(block_rows, self.n_obs)).map_blocks(
            canonical_rows, dtype=np.float32, meta=_EMPTY
        )


def rows_from_reader(read: RowReader, *, shape: tuple[int, int], block_rows: int) -> da.Array:
    """Return a dask array whose blocks are ``read(start, stop)``, one block of columns.

    Its dtype is float32, what blocks become, whatever is stored.
    """
    whole, rest = divmod(shape[0], block_rows)
    chunks = ((block_rows,) * whole + ((rest,) if rest else ()), (shape[1],))
    # A name of its own keeps dask from hashing whatever `read` holds.
    name = f"rows-{next(_serial)}"
    return da.map_blocks(
        partial(_read_block, read), chunks=chunks, dtype=np.float32, meta=_EMPTY, name=name
    )


def _read_block(read: RowReader, block_info: Any = None) -> Any:
    start, stop = block_info[None]["array-location"][0]
    return read(start, stop)


def as_csr(block: Any) -> Csr:
    """Return what a reader gave as scipy CSR of the stored dtype; sparse arrays are checked first.

    Raises
    ------
    ValueError
        The column indices or row pointers are damaged.
    """
    if isinstance(block, StoredRows):
        n_rows, n_values = len(block.indptr) - 1, len(block.data)
        # Before anything goes through the indices: scipy's routines trust them.
        if (
            n_values
            and not 0 <= int(block.indices.min()) <= int(block.indices.max()) < block.n_vars
        ):
            msg = f"column indices must lie in 0 to {block.n_vars - 1}"
            raise ValueError(msg)
        indices = block.indices.astype(np.int32, copy=False)
        data = _for_scipy(block.data)
        return sparse.csr_matrix((data, indices, block.indptr), shape=(n_rows, block.n_vars))
    csr = sparse.csr_matrix(_for_scipy(block) if isinstance(block, np.ndarray) else block)
    csr.check_format(full_check=True)
    return csr


def _for_scipy(values: np.ndarray) -> np.ndarray:
    """Return ``values`` in a dtype that scipy takes: no float16, and no foreign byte order."""
    native = _NATIVE.get(values.dtype.str, values.dtype.newbyteorder("="))
    return values.astype(native, copy=False)


def plain_rows(block: Any) -> StoredRows:
    """Return rows of any kind as arrays of the few dtypes that the compiled loops are made for.

    Values are uint8, uint16 or float32, columns uint16 or int32. Nothing else is put right.
    """
    if not isinstance(block, StoredRows):
        csr = as_csr(block)
        block = StoredRows(csr.data, csr.indices, csr.indptr, csr.shape[1])
    with np.errstate(over="ignore"):  # an overflow becomes inf, which the statistics report
        return StoredRows(
            _plain(block.data, ("uint8", "uint16", "float32")),
            _plain(block.indices, ("uint16", "int32")),
            block.indptr.astype(np.int64, copy=False),
            block.n_vars,
        )


def _plain(values: np.ndarray, welcome: tuple[str, ...]) -> np.ndarray:
    """Return ``values`` in a welcome dtype, the last of them where it has none."""
    kept = values.dtype.name in welcome and values.dtype.isnative
    return np.ascontiguousarray(values if kept else values.astype(welcome[-1]))


def canonical_rows(block: Any) -> Csr:
    """Return rows of any kind as CSR float32: sorted, no duplicates, no stored zeros.

    Shares memory with ``block`` where that is such a matrix already, and never changes it.

    Raises
    ------
    ValueError
        The column indices or row pointers are damaged.
    """
    with np.errstate(over="ignore"):  # an overflow becomes inf, which the statistics report
        csr = as_csr(block).astype(np.float32, copy=False)
    return tidied(csr)


def tidied(csr: Csr) -> Csr:
    """Return ``csr`` sorted, without duplicates and stored zeros: itself, or a copy put right."""
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    if np.count_nonzero(csr.data) < csr.data.size:
        csr = csr.copy()
        csr.eliminate_zeros()
    return csr


def column_lookup(columns: IntArray, n_vars: int) -> IntArray:
    """Return the new position of each column, -1 where it goes: int32, shape (n_vars,)."""
    lookup = np.full(n_vars, -1, dtype=np.int32)
    lookup[columns] = np.arange(len(columns), dtype=np.int32)
    return lookup


def select_columns(block: Csr, *, lookup: IntArray, n_columns: int) -> Csr:
    """Return the columns with a place in ``lookup``, in that place; rows may come out unsorted."""
    places = lookup[block.indices]
    kept = places >= 0
    ends = np.zeros(len(kept) + 1, dtype=block.indptr.dtype)
    np.cumsum(kept, out=ends[1:])
    return sparse.csr_matrix(
        (block.data[kept], places[kept], ends[block.indptr]), shape=(block.shape[0], n_columns)
    )


def _stored_columns(block: Any, *, lookup: IntArray, n_columns: int) -> Csr:
    return select_columns(as_csr(block), lookup=lookup, n_columns=n_columns)


def with_columns(x: da.Array, columns: IntArray) -> da.Array:
    """Return ``x`` with the given columns only, in that order; ``x`` itself where these are all."""
    n_vars = x.shape[1]
    if np.array_equal(columns, np.arange(n_vars)):
        return x
    return x.map_blocks(
        _stored_columns,
        lookup=column_lookup(columns, n_vars),
        n_columns=len(columns),
        chunks=(x.chunks[0], (len(columns),)),
        dtype=x.dtype,
        meta=_EMPTY,
    )
