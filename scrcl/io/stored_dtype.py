"""Row blocks in their stored dtype, for copies that must not round.

`scrcl.io.matrix.CellMatrix.x` gives float32 instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scrcl.io.rows import as_csr, canonical_csr

if TYPE_CHECKING:
    import dask.array as da

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr

__all__ = ["exact_x"]

_EMPTY = sparse.csr_matrix((0, 0), dtype=np.float32)


def exact_x(matrix: CellMatrix, block_rows: int) -> da.Array:
    """Return the matrix as canonical CSR row blocks without rounding, shape (n_obs, n_vars)."""
    blocks = matrix.rows(min(block_rows, matrix.n_obs))
    return blocks.map_blocks(exact_rows, dtype=_plain(matrix.dtype), meta=_EMPTY)


def exact_rows(block: Any) -> Csr:
    """Return rows of any kind as canonical CSR in their dtype: sorted, no duplicates, no stored zeros.

    float16 becomes float32, bool becomes uint8, and foreign byte orders become native. Duplicate integers are
    summed as int64, so they cannot overflow. The result shares memory with ``block`` if possible.

    Raises
    ------
    ValueError
        The column indices or row pointers are damaged.
    """
    csr = as_csr(block)
    csr = csr.astype(_plain(csr.dtype), copy=False)
    if not csr.has_canonical_format and csr.dtype.kind in "iu":
        csr = csr.astype(np.int64)
    return canonical_csr(csr)


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize < np.dtype(np.float32).itemsize:
        return np.dtype(np.float32)
    return dtype.newbyteorder("=")
