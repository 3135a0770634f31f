"""Store on disk with the log values of the selected genes, which all later steps read.

Writing it takes one read of the input. The same read sums each gene and the inner products of all pairs of
genes (the Gram matrix), which is all that a principal component analysis needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import StoreError
from scrcl.io.parts import Parts, column_dtype, write_arrays, write_index
from scrcl.io.rows import column_lookup, plain_rows
from scrcl.io.stream import Reading, reduce_rows
from scrcl.prep.gram import GramSums, added, column_sums, packed_gram, unpack
from scrcl.prep.normalize import row_sums, size_factors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da
    from numpy.typing import NDArray

    from scrcl.io.rows import StoredRows
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = ["FeatureStore", "write_features"]


class FeatureStore(Parts):
    """Normalised log values of the retained cells and selected genes: CSR float32, in numbered parts.

    Raises
    ------
    StoreError
        The folder is no feature store, or a file is damaged.
    """

    def __iter__(self) -> Iterator[tuple[int, Csr]]:
        """Yield ``(first_row, rows)`` of each part, in order."""
        for part, (start, _) in enumerate(self.parts()):
            yield start, self.read(part)

    @property
    def has_gram(self) -> bool:
        """Whether the store holds the Gram matrix."""
        return (self.folder / "gram.npy").exists()

    def gram(self) -> FloatArray:
        """Return the Gram matrix ``X^T X`` of the genes: ndarray of float64, shape (n_vars, n_vars)."""
        return self._array("gram")

    def sums(self) -> FloatArray:
        """Return the sum of each gene: ndarray of float64, shape (n_vars,)."""
        return self._array("sums")

    def _array(self, name: str) -> FloatArray:
        try:
            values: FloatArray = np.load(self.folder / f"{name}.npy")
        except Exception as error:
            message = f"{self.folder} must hold {name}.npy; got {error}. Write the store again."
            raise StoreError(message) from error
        return values


def write_features(
    x: da.Array,
    folder: Path,
    *,
    retained: BoolArray,
    genes: IntArray,
    already_log: bool,
    cell_sums: FloatArray | None = None,
    with_gram: bool = True,
    reading: Reading = Reading(),
) -> FeatureStore:
    """Write the log values of some cells and genes into ``folder``, and return the store.

    Cells are normalised by their totals over all genes. Peak memory is that of a block for each worker, and, for n
    workers, of ``2 n + 3`` triangles of the Gram matrix in float32 (2 M^2 bytes each), or at the end 12 M^2 bytes:
    the triangle in float64 and the whole matrix.

    Parameters
    ----------
    x
        Row blocks of a `CellMatrix`, shape (n_obs, n_vars), in canonical order.
    retained
        Cells to write: ndarray of bool, shape (n_obs,).
    genes
        Genes to write, ascending positions: ndarray of integers, shape (n_genes,).
    already_log
        The values are logarithms and are written unchanged.
    cell_sums
        Total of each cell over all genes, shape (n_obs,). By default it is summed from the rows.
    with_gram
        Compute the Gram matrix. It is not needed where the components come from the rows.
    reading
        Workers of a client must see ``folder``, too.
    """
    assert len(retained) == x.shape[0]
    assert cell_sums is None or len(cell_sums) == len(retained)
    assert np.all(np.diff(genes) > 0)
    assert len(genes)
    folder.mkdir(parents=True, exist_ok=True)
    starts = np.cumsum([0, *x.chunks[0]])
    write = _Writer(
        folder=folder,
        starts=starts,
        retained=retained,
        lookup=column_lookup(genes, x.shape[1]),
        n_genes=len(genes),
        already_log=already_log,
        cell_sums=cell_sums,
        with_gram=with_gram,
    )
    totals = reduce_rows(x, write, added, reading)
    np.save(folder / "sums.npy", totals.sums)
    if totals.gram is not None:
        np.save(folder / "gram.npy", unpack(totals.gram, len(genes)))
    write_index(folder, np.add.reduceat(retained, starts[:-1], dtype=int).tolist(), len(genes))
    return FeatureStore(folder)


@dataclass(frozen=True)
class _Writer:
    """Writes a block of rows as one part and returns its sums."""

    folder: Path
    starts: IntArray
    retained: BoolArray
    lookup: IntArray
    n_genes: int
    already_log: bool
    cell_sums: FloatArray | None
    with_gram: bool

    def of_rows(self, start: int, stop: int) -> _Writer:
        """Return the writer of these rows, with only their share of the arrays."""
        sums = None if self.cell_sums is None else self.cell_sums[start:stop]
        return replace(self, retained=self.retained[start:stop], cell_sums=sums)

    def __call__(self, start: int, block: Any) -> GramSums:
        indptr, indices, logs = self._logs(plain_rows(block))
        part = int(np.searchsorted(self.starts, start))
        write_arrays(self.folder, part, logs, indices, indptr)
        return GramSums(
            sums=column_sums(indices, logs, self.n_genes),
            gram=packed_gram(indptr, indices, logs, self.n_genes) if self.with_gram else None,
        )

    def _logs(self, block: StoredRows) -> tuple[NDArray[np.int32], IntArray, NDArray[np.float32]]:
        """Return the log values of the retained cells and selected genes: indptr, indices and data."""
        if self.already_log:
            factors = np.ones(len(self.retained), dtype=np.float32)
        else:
            sums = row_sums(block) if self.cell_sums is None else self.cell_sums
            factors = size_factors(sums)
        indptr = np.zeros(np.count_nonzero(self.retained) + 1, dtype=np.int32)
        # As long as the block: `_select` writes every value, also those it drops.
        indices = np.empty(len(block.data), dtype=column_dtype(self.n_genes))
        values = np.empty(len(block.data), dtype=np.float32)
        compiled(_select)(
            block.indptr,
            block.indices,
            block.data,
            self.lookup,
            self.retained,
            factors,
            indptr,
            indices,
            values,
        )
        indices, values = indices[: indptr[-1]], values[: indptr[-1]]
        if not self.already_log:
            np.log1p(values, out=values)
        return indptr, indices, values


def _select(
    indptr: IntArray,
    indices: IntArray,
    data: FloatArray,
    lookup: IntArray,
    retained: BoolArray,
    factors: FloatArray,
    new_indptr: IntArray,
    new_indices: IntArray,
    new_data: FloatArray,
) -> None:
    """Copy the selected columns of the retained rows, each value divided by its row's factor.

    Parameters
    ----------
    lookup
        New position of each column; -1 for columns to drop.
    new_indptr, new_indices, new_data
        Outputs, as a CSR matrix. The last two must be as long as ``data``.
    """
    # Every value of a retained row is written at `end`, and `end` moves on only if its column is selected.
    # Otherwise the next value overwrites it. A branch here would be mispredicted for most values.
    end = 0
    n_rows = 0
    for row in range(len(retained)):
        if not retained[row]:
            continue
        for at in range(indptr[row], indptr[row + 1]):
            column = lookup[indices[at]]
            new_indices[end] = column
            new_data[end] = data[at] / factors[row]
            end += column >= 0
        n_rows += 1
        new_indptr[n_rows] = end
