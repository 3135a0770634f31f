"""Log values of some genes in some cells, from one read of the matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.io.rows import as_csr
from scrcl.io.stream import Reading, map_rows
from scrcl.prep.normalize import log_normalize, size_factors

if TYPE_CHECKING:
    import dask.array as da

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["expression_of"]


def expression_of(
    x: da.Array,
    cells: IntArray,
    genes: IntArray,
    *,
    cell_sums: FloatArray | None,
    reading: Reading = Reading(),
) -> FloatArray:
    """Return the log values: ndarray of float32, shape (n_cells, n_genes).

    Parameters
    ----------
    x
        Row blocks of a `CellMatrix`, shape (n_obs, n_vars).
    cells, genes
        Rows and columns of ``x``; rows ascending.
    cell_sums
        Total of each row of ``x``, by which counts are normalised; None: the values are logarithms.
    """
    wanted = np.zeros(x.shape[0], np.bool_)
    wanted[cells] = True
    take = _Take(wanted, genes, cell_sums)
    found = np.empty((len(cells), len(genes)), np.float32)
    start = 0
    for _, part in map_rows(x, take, reading):
        found[start : start + len(part)] = part
        start += len(part)
    return found


@dataclass(frozen=True)
class _Take:
    """Takes genes of the wanted rows out of a block."""

    wanted: BoolArray
    genes: IntArray
    cell_sums: FloatArray | None

    def of_rows(self, start: int, stop: int) -> _Take:
        """Return the same for these rows, with only their share of the arrays."""
        sums = None if self.cell_sums is None else self.cell_sums[start:stop]
        return replace(self, wanted=self.wanted[start:stop], cell_sums=sums)

    def __call__(self, start: int, block: Any) -> FloatArray:  # noqa: ARG002
        values = as_csr(block)[self.wanted][:, self.genes].astype(np.float32)
        if self.cell_sums is not None:
            factors = size_factors(self.cell_sums[self.wanted])
            values = log_normalize(values, factors=factors)
        return np.asarray(values.toarray(), np.float32)
