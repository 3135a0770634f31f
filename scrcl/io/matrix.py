"""`CellMatrix`: an input opened lazily, with names in memory and values as dask row blocks.

The reader of a format supplies a description and a way to read rows. Blocks of `CellMatrix.x` always have the
same form (`canonical_rows`). So later steps need not handle other dtypes, dense storage, unsorted columns,
duplicates or stored zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import dask.array as da
import numpy as np
from scipy import sparse

from scrcl.errors import InputError, StoreError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pandas as pd

    from scrcl.io.coordinates import CellCoordinates
    from scrcl.typing import Csr, IntArray

__all__ = [
    "CellMatrix",
    "Layout",
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

Layout: TypeAlias = Literal["csr", "csc", "dense"]

_RowReader: TypeAlias = Callable[[int, int], Any]
"""Returns the rows ``start`` to ``stop`` as `StoredRows`, a scipy sparse matrix or an ndarray."""

_EMPTY = sparse.csr_matrix((0, 0), dtype=np.float32)
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


def _no_layer(name: str | None) -> CellMatrix:
    raise KeyError(name)


@dataclass(frozen=True)
class CellMatrix:
    """A matrix of cells by genes, not yet read.

    Parameters
    ----------
    label
        Name of the input in messages: the file name, or ``"AnnData object"``.
    n_obs, n_vars
        Numbers of cells and genes.
    dtype
        Dtype of the stored values. Blocks of `x` are always float32.
    layout
        Layout of the store. ``"csc"`` means that a row-major copy is made before the first read.
    nnz
        Number of stored values; None if the store is dense.
    chunk_rows
        Roughly how many rows the store reads at once; None if it has no chunks.
    var
        Annotations of the genes, with unique names.
    load_obs, load_obsm
        Read the annotations of the cells, and find their coordinates (two or three columns each). `obs` and `obsm`
        call them on first use, because the names of cells take more memory than all else that grows with them.
    identity
        Fingerprint of the input, ready for JSON.
    rows
        Returns a dask array of row blocks as stored, for a given number of rows.
    check_obs
        Reads all annotations of the cells, a piece at a time. Raises StoreError if their names are damaged, and
        warns of columns that are left out.
    left_out
        Names of features of the source that `var` does not have, because their kind is another (antibodies).
    layers
        Names of the other matrices that the input has: ``"raw"`` and layers.
    n_genes_dropped
        Genes that a join left out, because not all samples have them.
    repeated_genes
        Names of genes that repeated before they were made unique. Which of them has which suffix is by chance.
    open_layer
        Opens another of the matrices by name (None: X), with the same cells. Raises InputError if it is not there.
    sources
        Each opens what a sample was read from: the root group of a store, or an AnnData in memory. The result keeps
        what it holds besides the matrix (`scrcl.io.slots`). Empty for formats that hold nothing else; a join
        has one for each sample.
    values_in_source
        Whether what ``sources`` open holds the matrix too.
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
    load_obsm: Callable[[], Mapping[str, CellCoordinates]] = field(repr=False)
    identity: dict[str, Any] = field(repr=False)
    rows: Callable[[int], da.Array] = field(repr=False)
    check_obs: Callable[[], None] = field(default=lambda: None, repr=False)
    left_out: frozenset[str] = frozenset()
    repeated_genes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    n_genes_dropped: int = 0
    open_layer: Callable[[str | None], CellMatrix] = field(default=_no_layer, repr=False)
    sources: tuple[Callable[[], AbstractContextManager[Any]], ...] = field(default=(), repr=False)
    values_in_source: bool = True

    def __post_init__(self) -> None:
        if not (self.n_obs and self.n_vars):
            message = (
                f"{self.label} must hold at least one cell and one gene; got {self.n_obs:,} cells "
                f"and {self.n_vars:,} genes."
            )
            raise InputError(message)
        if self.dtype.kind not in "biuf":
            message = (
                f"{self.label} must hold real numbers; got values of type {self.dtype}. "
                "Convert them, or choose another layer."
            )
            raise InputError(message)
        self._require_names("gene", len(self.var), self.n_vars)

    @cached_property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells, with unique names. They stay in memory after the first use."""
        return self.fresh_obs()

    def fresh_obs(self) -> pd.DataFrame:
        """Read and return the annotations of the cells, without caching them.

        Raises
        ------
        StoreError
            They are damaged, or their number differs from that of the cells.
        """
        table = self.load_obs()
        self._require_names("cell", len(table), self.n_obs)
        return table

    @cached_property
    def obsm(self) -> Mapping[str, CellCoordinates]:
        """Coordinates of the cells, by name. Each is read when it is asked for (`scrcl.io.coordinates`)."""
        return self.load_obsm()

    def _require_names(self, kind: str, n_names: int, n_needed: int) -> None:
        if n_names != n_needed:
            message = (
                f"{self.label} must name each row and column; got {n_names:,} {kind} names for "
                f"{n_needed:,} {kind}s."
            )
            raise StoreError(message)

    def x(self, block_rows: int) -> da.Array:
        """Return the matrix as row blocks of scipy CSR float32, shape (n_obs, n_vars).

        Blocks are canonical: sorted columns, no duplicates, no stored zeros. They may share memory with an
        input in memory, so never write to them.
        """
        if block_rows < 1:
            message = f"block_rows must be at least 1; got {block_rows}."
            raise InputError(message)
        return self.rows(min(block_rows, self.n_obs)).map_blocks(
            canonical_rows, dtype=np.float32, meta=_EMPTY
        )


def rows_from_reader(read: _RowReader, *, shape: tuple[int, int], block_rows: int) -> da.Array:
    """Return a dask array with the row blocks ``read(start, stop)`` and one block of columns.

    Its nominal dtype is float32, the dtype of the blocks after conversion.
    """
    whole, rest = divmod(shape[0], block_rows)
    chunks = ((block_rows,) * whole + ((rest,) if rest else ()), (shape[1],))
    # A given name keeps dask from hashing everything that `read` refers to.
    name = f"rows-{next(_serial)}"
    return da.map_blocks(
        partial(_read_block, read), chunks=chunks, dtype=np.float32, meta=_EMPTY, name=name
    )


def _read_block(read: _RowReader, block_info: Any = None) -> Any:
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
        meta=_EMPTY,
    )
