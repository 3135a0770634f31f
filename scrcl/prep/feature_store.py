"""The compact store that everything after gene selection reads: log values of the chosen genes.

One read of the input fills it, and takes along the matrix of inner products of the genes (the Gram
matrix) and their sums: all that a principal component analysis needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._compiled import compiled
from scrcl._contract import Artifact
from scrcl.errors import InputError, StoreError
from scrcl.io.matrix import column_lookup, plain_rows
from scrcl.io.parts import Parts, index_dtype, write_arrays, write_index
from scrcl.io.stream import reduce_rows
from scrcl.prep.gram import column_sums, packed_products, unpacked
from scrcl.prep.normalize import size_factors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da
    from numpy.typing import DTypeLike, NDArray

    from scrcl.io.matrix import StoredRows
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray, OnRows

__all__ = ["FEATURES", "FeatureStore", "write_features"]


class FeatureStore:
    """Normalised log values of the selected cells and genes, as CSR float32 in numbered parts.

    Raises
    ------
    StoreError
        The folder holds no feature store, or a file of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = Parts(folder)

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Return the store in ``folder``."""
        return cls(folder)

    @property
    def n_obs(self) -> int:
        """Cells kept."""
        return self._parts.n_obs

    @property
    def n_vars(self) -> int:
        """Genes selected."""
        return self._parts.n_vars

    def parts(self) -> list[tuple[int, int]]:
        """Return the first row of each part, and the one after its last."""
        return self._parts.ranges()

    def read(self, part: int) -> Csr:
        """Return one part, in memory."""
        return self._parts.read(part)

    def __iter__(self) -> Iterator[tuple[int, Csr]]:
        """Yield ``(first_row, rows)`` of each part in order."""
        for part, (start, _) in enumerate(self.parts()):
            yield start, self.read(part)

    def rows_block(self, start: int, stop: int) -> Csr:
        """Return the rows ``start`` to ``stop``, in memory."""
        return self._parts.rows(start, stop)

    def x(self, block_rows: int) -> da.Array:
        """Return row blocks of CSR float32, shape (n_obs, n_vars)."""
        return self._parts.x(block_rows)

    def x_parts(self) -> da.Array:
        """Return the parts as row blocks of CSR float32, shape (n_obs, n_vars)."""
        return self._parts.x_parts()

    @property
    def has_gram(self) -> bool:
        """Whether the Gram matrix was written."""
        return (self.folder / "gram.npy").exists()

    def gram(self) -> FloatArray:
        """Return the inner products of the genes: ndarray of float64, shape (n_vars, n_vars)."""
        return self._array("gram")

    def sums(self) -> FloatArray:
        """Return the sum of each gene: ndarray of float64, shape (n_vars,)."""
        return self._array("sums")

    def _array(self, name: str) -> FloatArray:
        try:
            values: FloatArray = np.load(self.folder / f"{name}.npy")
        except (OSError, ValueError) as error:
            msg = f"{self.folder} must hold {name}.npy whole; got {error}. Write it again."
            raise StoreError(msg) from error
        return values


FEATURES = Artifact("features", FeatureStore.open)
"""Log values of the selected genes in the retained cells."""


def write_features(
    x: da.Array,
    folder: Path,
    *,
    rows: BoolArray,
    genes: IntArray,
    already_log: bool,
    cell_sums: FloatArray | None = None,
    dtype: DTypeLike = np.float32,
    with_gram: bool = True,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
    client: Any = None,
) -> FeatureStore:
    """Write the log values of chosen cells and genes into ``folder``, and return the store.

    Cells are normalised by their totals over all genes. Peak memory is that of ``n_workers`` blocks,
    ``2 n_workers + 3`` triangles of the Gram matrix in float32 (2 M^2 bytes each), and one in float64
    with the whole matrix at the end (12 M^2 bytes).

    Parameters
    ----------
    x
        Row blocks of any kind that a `CellMatrix` has, shape (n_obs, n_vars); canonical.
    rows
        Cells to keep: ndarray of bool, shape (n_obs,).
    genes
        Columns to keep, ascending: ndarray of integers, shape (n_genes,).
    already_log
        The values are logarithms and pass unchanged.
    cell_sums
        Total of each cell over all genes, shape (n_obs,); summed from the rows where not given.
    dtype
        Of the values on disk, float32 or float16. Sums and products are those of the rounded values.
    with_gram
        Take the Gram matrix along; not needed where the components come from the rows.

    client
        See `scrcl.io.stream.map_rows`; its workers must see ``folder``.

    Raises
    ------
    InputError
        A value is too large for ``dtype``.
    """
    assert len(rows) == x.shape[0]
    assert cell_sums is None or len(cell_sums) == len(rows)
    assert np.all(np.diff(genes) > 0)
    assert len(genes)
    folder.mkdir(parents=True, exist_ok=True)
    starts = np.cumsum([0, *x.chunks[0]])
    write = _Writer(
        folder=folder,
        starts=starts,
        rows=rows,
        lookup=column_lookup(genes, x.shape[1]),
        n_genes=len(genes),
        already_log=already_log,
        cell_sums=cell_sums,
        dtype=np.dtype(dtype),
        with_gram=with_gram,
    )
    totals = reduce_rows(x, write, _add, n_workers=n_workers, on_rows=on_rows, client=client)
    np.save(folder / "sums.npy", totals.sums)
    if totals.gram is not None:
        np.save(folder / "gram.npy", unpacked(totals.gram, len(genes)))
    write_index(folder, np.add.reduceat(rows, starts[:-1], dtype=int).tolist(), len(genes))
    return FeatureStore(folder)


@dataclass(frozen=True)
class _Totals:
    """Sums of the genes, and the packed triangle of their products."""

    sums: FloatArray
    gram: FloatArray | None


def _add(total: _Totals, more: _Totals) -> _Totals:
    total.sums[:] += more.sums
    if total.gram is None or more.gram is None:
        return total
    wide = total.gram.astype(np.float64, copy=False)  # the first block's is float32
    wide += more.gram
    return _Totals(total.sums, wide)


@dataclass(frozen=True)
class _Writer:
    """Writes a block of rows as one part, and returns its sums and products."""

    folder: Path
    starts: IntArray
    rows: BoolArray
    lookup: IntArray
    n_genes: int
    already_log: bool
    cell_sums: FloatArray | None
    dtype: np.dtype[Any]
    with_gram: bool

    def of_rows(self, start: int, stop: int) -> _Writer:
        """Return what writes these rows."""
        sums = None if self.cell_sums is None else self.cell_sums[start:stop]
        return replace(self, rows=self.rows[start:stop], cell_sums=sums)

    def __call__(self, start: int, block: Any) -> _Totals:
        indptr, indices, logs = self._logs(plain_rows(block))
        with np.errstate(over="ignore"):  # refused below, with the value
            stored = logs.astype(self.dtype, copy=False)
        if stored.dtype != logs.dtype:
            logs = self._rounded(logs, stored)
        part = int(np.searchsorted(self.starts, start))
        write_arrays(self.folder, part, stored, indices, indptr)
        return _Totals(
            sums=column_sums(indices, logs, self.n_genes),
            gram=packed_products(indptr, indices, logs, self.n_genes) if self.with_gram else None,
        )

    def _logs(self, block: StoredRows) -> tuple[NDArray[np.int32], IntArray, NDArray[np.float32]]:
        """Return the log values of the chosen cells and genes, as the arrays of a CSR matrix."""
        kept = self.rows
        if self.already_log:
            factors = np.ones(len(kept), dtype=np.float32)
        else:
            sums = self._sums(block) if self.cell_sums is None else self.cell_sums
            factors = size_factors(sums)
        indptr = np.zeros(np.count_nonzero(kept) + 1, dtype=np.int32)
        indices = np.empty(len(block.data), dtype=index_dtype(self.n_genes))
        values = np.empty(len(block.data), dtype=np.float32)
        compiled(_select)(
            block.indptr,
            block.indices,
            block.data,
            self.lookup,
            kept,
            factors,
            indptr,
            indices,
            values,
        )
        indices, values = indices[: indptr[-1]], values[: indptr[-1]]
        if not self.already_log:
            np.log1p(values, out=values)
        return indptr, indices, values

    def _sums(self, block: StoredRows) -> FloatArray:
        starts = block.indptr[:-1]
        sums = np.zeros(len(starts))
        filled = np.flatnonzero(np.diff(block.indptr))
        if filled.size:  # reduceat would give an empty row its neighbour's first value
            sums[filled] = np.add.reduceat(block.data, starts[filled], dtype=np.float64)
        return sums

    def _rounded(self, logs: FloatArray, stored: FloatArray) -> FloatArray:
        """Return the values as they will be read."""
        rounded = stored.astype(np.float32)
        if len(rounded) and np.isinf(rounded.max()) and np.isfinite(logs.max()):
            msg = (
                f"log values must fit into {self.dtype}; got {logs.max():.6g}. "
                "Store them as float32, or check the input."
            )
            raise InputError(msg)
        return rounded


def _select(
    indptr: IntArray,
    indices: IntArray,
    data: FloatArray,
    lookup: IntArray,
    kept: BoolArray,
    factors: FloatArray,
    new_indptr: IntArray,
    new_indices: IntArray,
    new_data: FloatArray,
) -> None:
    """Copy the kept rows' values with a place in ``lookup``, each divided by the row's factor.

    Every value is written, and the next one over it where it was not wanted: no branch to guess.
    """
    end = 0
    n_rows = 0
    for row in range(len(kept)):
        if not kept[row]:
            continue
        for place in range(indptr[row], indptr[row + 1]):
            column = lookup[indices[place]]
            new_indices[end] = column
            new_data[end] = data[place] / factors[row]
            end += column >= 0
        n_rows += 1
        new_indptr[n_rows] = end
