"""Sums of counts over groups of cells, from one read of the matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scrcl.io.matrix import as_csr
from scrcl.io.stream import map_rows

if TYPE_CHECKING:
    import dask.array as da

    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["sums_of_groups"]


def sums_of_groups(
    x: da.Array,
    groups: IntArray,
    n_groups: int,
    *,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> FloatArray:
    """Return the sum of the values of each gene in each group: float64, shape (n_groups, n_vars).

    Parameters
    ----------
    x
        Row blocks of a `CellMatrix`, shape (n_obs, n_vars).
    groups
        ndarray of int, shape (n_obs,): 0 .. n_groups - 1, and -1 for cells to leave out.
    """
    total = np.zeros((n_groups, x.shape[1]))
    add = _Sums(np.asarray(groups, np.int64), n_groups)
    for _, (there, sums) in map_rows(x, add, n_workers=n_workers, on_rows=on_rows):
        # Few groups have cells in one block.
        total[there] += sums.toarray()
    return total


@dataclass(frozen=True)
class _Sums:
    """Adds up the rows of each group in a block."""

    groups: IntArray
    n_groups: int

    def of_rows(self, start: int, stop: int) -> _Sums:
        """Return the same for these rows, with only their share of the array."""
        return replace(self, groups=self.groups[start:stop])

    def __call__(self, start: int, block: Any) -> tuple[IntArray, Csr]:  # noqa: ARG002
        rows = np.flatnonzero(self.groups >= 0)
        there, row_of = np.unique(self.groups[rows], return_inverse=True)
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (row_of, rows)), shape=(len(there), len(self.groups))
        )
        return there, member @ as_csr(block).astype(np.float64)
