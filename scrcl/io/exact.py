"""Row blocks in the dtype that they are stored in, whose faults say whose rows they are.

`scrcl.io.matrix.CellMatrix.x` gives float32; a copy of a matrix must not round it first.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from scipy import sparse

from scrcl.errors import ScrclError, StoreError
from scrcl.io.stream import DAMAGE

if TYPE_CHECKING:
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr

__all__ = ["exact_rows", "exact_x"]

_EMPTY = sparse.csr_matrix((0, 0), dtype=np.float32)
_serial = count()


def exact_x(matrix: CellMatrix, block_rows: int) -> da.Array:
    """Return the matrix as canonical CSR row blocks that are not rounded, shape (n_obs, n_vars).

    A block that cannot be read raises StoreError with the path (or label) of its input, and its
    rows counted from the first of that input, also where the blocks are sliced or joined later.
    """
    dtype = _plain(matrix.dtype)
    x = matrix.rows(min(block_rows, matrix.n_obs)).map_blocks(exact_rows, dtype=dtype, meta=_EMPTY)
    label = matrix.identity.get("path", matrix.label)
    return da.map_blocks(
        partial(_read_block, x, label),
        chunks=x.chunks,
        dtype=dtype,
        meta=_EMPTY,
        name=f"exact-{next(_serial)}",
    )


def _read_block(x: da.Array, label: str, block_info: Any = None) -> Csr:
    (number, _) = block_info[None]["chunk-location"]
    try:
        return x.blocks[number].compute(scheduler="synchronous")
    except ScrclError:
        raise
    except DAMAGE as error:
        start, stop = block_info[None]["array-location"][0]
        msg = (
            f"{label} must be readable; rows {start:,} to {stop - 1:,} are not: "
            f"{type(error).__name__}: {error}. Copy or download it again."
        )
        raise StoreError(msg) from error


def exact_rows(block: Any) -> Csr:
    """Return ``block`` (sparse or dense) as CSR of its dtype: sorted, no duplicates, no zeros.

    float16 becomes float32, bool uint8, foreign byte orders the machine's; duplicates of integers
    are summed as int64, so that none wraps. Shares memory with ``block`` where it can.

    Raises
    ------
    ValueError
        The column indices or row pointers are damaged.
    """
    if isinstance(block, np.ndarray):  # scipy takes no float16, and no foreign byte order
        block = block.astype(_plain(block.dtype), copy=False)
    csr = sparse.csr_matrix(block)
    # Before anything goes through the indices: scipy's routines trust them.
    csr.check_format(full_check=True)
    csr = csr.astype(_plain(csr.dtype), copy=False)
    if not csr.has_canonical_format:
        csr = csr.astype(np.int64 if csr.dtype.kind in "iu" else csr.dtype, copy=True)
        csr.sum_duplicates()
    if np.count_nonzero(csr.data) < csr.data.size:
        csr = csr.copy()
        csr.eliminate_zeros()
    return csr


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize < np.dtype(np.float32).itemsize:
        return np.dtype(np.float32)
    return dtype.newbyteorder("=")
