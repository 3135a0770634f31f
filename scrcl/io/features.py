"""The compact store that everything after gene selection reads: log values of the chosen genes.

One read of the input fills it, and takes along the matrix of inner products of the genes (the Gram
matrix) and their sums: all that a principal component analysis needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import StoreError
from scrcl.io.matrix import column_lookup, select_columns
from scrcl.io.normalize import log_normalize, row_sums, size_factors, sum_by
from scrcl.io.parts import Parts, write_index, write_part
from scrcl.io.stream import reduce_rows
from scrcl.typing import BoolArray, Csr, FloatArray, IntArray, OnRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da

__all__ = ["FeatureStore", "write_features"]

_GRAM_BYTES = 16 << 20
_SPARSE_DENSITY = 0.07
"""Below it, sparse products are the faster ones (measured with 2,000 genes)."""


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


def write_features(
    x: da.Array,
    folder: Path,
    *,
    rows: BoolArray,
    genes: IntArray,
    already_log: bool,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> FeatureStore:
    """Write the log values of chosen cells and genes into ``folder``, and return the store.

    Cells are normalised by their totals over all genes. Peak memory is that of ``n_workers`` blocks
    and ``2 * n_workers + 3`` Gram matrices.

    Parameters
    ----------
    x
        Row blocks of CSR float32, shape (n_obs, n_vars).
    rows
        Cells to keep: ndarray of bool, shape (n_obs,).
    genes
        Columns to keep, ascending: ndarray of integers, shape (n_genes,).
    already_log
        The values are logarithms and pass unchanged.
    """
    assert len(rows) == x.shape[0]
    assert len(genes)
    folder.mkdir(parents=True, exist_ok=True)
    lookup = column_lookup(genes, x.shape[1])
    starts = np.cumsum([0, *x.chunks[0]])

    def write(start: int, block: Csr) -> _Products:
        kept = rows[start : start + block.shape[0]]
        factors = size_factors(row_sums(block))[kept]
        chosen = select_columns(block, lookup=lookup, n_columns=len(genes))
        if not kept.all():
            chosen = chosen[kept]
        logs = log_normalize(chosen, already_log=already_log, factors=factors)
        write_part(folder, int(np.searchsorted(starts, start)), logs)
        return _gram(logs), sum_by(logs.indices, logs.data, len(genes))

    gram, sums = reduce_rows(x, write, _add, n_workers=n_workers, on_rows=on_rows)
    np.save(folder / "gram.npy", gram)
    np.save(folder / "sums.npy", sums)
    write_index(folder, np.add.reduceat(rows, starts[:-1], dtype=int).tolist(), len(genes))
    return FeatureStore(folder)


_Products = tuple[FloatArray, FloatArray]


def _add(total: _Products, more: _Products) -> _Products:
    for into, values in zip(total, more, strict=True):
        np.add(into, values, out=into)
    return total


def _gram(block: Csr) -> FloatArray:
    """Return ``block.T @ block`` in float64, dense, shape (n_genes, n_genes)."""
    n_rows, n_genes = block.shape
    if block.nnz < _SPARSE_DENSITY * n_rows * n_genes:
        wide = block.astype(np.float64)
        sparse_products: FloatArray = (wide.T @ wide).toarray()
        return sparse_products
    products = np.zeros((n_genes, n_genes))
    step = max(_GRAM_BYTES // (8 * n_genes), 1)
    for start in range(0, n_rows, step):
        dense = block[start : start + step].astype(np.float64).toarray()
        products += dense.T @ dense
    return products
