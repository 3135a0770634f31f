"""Row-wise access to arrays that may be larger than memory.

Arrays are processed in blocks of rows. A block is read from a memory map, and its result is written at its own
position in a ``.npy`` file. So neither the number of threads nor the order in which blocks finish changes the
result. Whole blocks are written with ``pwrite`` and not through a writable memory map, because touched pages of
a map count as memory of the process until they are released.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import open_memmap

from scrcl._contract import Artifact
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray, OnRows

__all__ = [
    "KEPT_MAP_BYTES",
    "SMALL_MAP_BYTES",
    "RowWriter",
    "as_points",
    "cores",
    "for_each_block",
    "gathered",
    "index_dtype",
    "new_map",
    "release",
    "require_finite",
    "require_neighbors",
    "row_blocks",
    "row_starts",
    "stored_array",
    "write_leading",
]

CHECK_ROWS = 65_536
SMALL_MAP_BYTES = 1 << 28
"""Memory maps below this size may stay resident. `scrcl.engine` plans memory for them."""

KEPT_MAP_BYTES = 1 << 29
"""Memory maps that training reads at random may stay resident up to this size. Releasing a map of 400 MB after
each mini-batch takes longer than everything else about the mini-batch."""

_GATHERED_BYTES = SMALL_MAP_BYTES
"""Part of a memory map that is read at random before its pages are released."""

LARGEST_INT32 = np.iinfo(np.int32).max

_LARGEST_VALUE = 1e18
"""Sums of squares of larger values may overflow float32."""


def as_points(points: Any, name: str = "points") -> FloatArray:
    """Return ``points`` as a C-contiguous float32 matrix, without a copy if it already is one.

    Parameters
    ----------
    points
        ndarray or memory map, shape (n_points, n_dims). A float32 memory map in C order stays on disk. Other
        dtypes or orders are converted, which takes ``4 * n_points * n_dims`` bytes.
    name
        Name of the argument in errors.

    Raises
    ------
    InputError
        ``points`` is not a matrix, or has no columns.
    """
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] == 0:
        message = (
            f"{name} must be a matrix of points by dimensions; got shape {array.shape}. Reshape it."
        )
        raise InputError(message)
    return np.ascontiguousarray(array, dtype=np.float32)


def require_finite(points: FloatArray, name: str = "points") -> None:
    """Raise InputError if a value is NaN, infinite or, in float32, 1e18 or more in size.

    The message names the first such row. Rows are read in blocks.
    """
    limit = _LARGEST_VALUE if points.dtype == np.float32 else np.inf
    for start, stop in row_blocks(len(points), CHECK_ROWS):
        finite = (np.abs(points[start:stop]) < limit).all(axis=1)
        release(points)
        if not finite.all():
            row = start + int(np.argmin(finite))
            rule = "finite" if np.isinf(limit) else f"finite and less than {limit:g}"
            message = (
                f"{name} must be {rule}; got NaN, infinity or more in row {row}. "
                "Remove or repair that row."
            )
            raise InputError(message)


def require_neighbors(k: int) -> None:
    """Raise InputError unless ``k`` is at least 1."""
    if k < 1:
        message = f"k must be at least 1; got {k}. Ask for one neighbour or more."
        raise InputError(message)


def release(array: Any, *, above: int = 0) -> None:
    """Release the resident pages of a memory map, or of a view of one. Arrays in memory are left alone.

    Touched pages count as memory of the process until the kernel needs them elsewhere. The next read finds them
    in the page cache or on disk, at about a microsecond for each page. So small maps that are read at random
    again and again should stay resident.

    Parameters
    ----------
    above
        Maps of fewer bytes are not released.
    """
    copy_on_write = False
    while array is not None and not isinstance(array, mmap.mmap):
        # Data written to a copy-on-write map exists only in its pages.
        copy_on_write |= getattr(array, "mode", None) == "c"
        array = getattr(array, "base", None)
    if array is None or copy_on_write or len(array) < above:
        return
    if hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def new_map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """Return a new ``.npy`` file as a writable memory map, with its disk space allocated.

    So a full disk raises OSError here. Without allocation, a later write to the map would kill the process.
    """
    array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate") and array.nbytes:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), array.offset, array.nbytes)
    return array


def gathered(array: FloatArray, rows: IntArray, *, above: int = 0) -> FloatArray:
    """Return ``array[rows]``. At most 256 MB of a memory map of ``above`` bytes or more become resident.

    Rows are read in ascending order. So the pages that become resident are those of the part of the file that is read,
    even where a system loads a megabyte around each row.
    """
    if array.nbytes < above:
        return array[rows]
    found = np.empty((len(rows), array.shape[1]), array.dtype)
    order = np.argsort(rows, kind="stable")
    part = rows[order] // max(_GATHERED_BYTES * len(array) // max(array.nbytes, 1), 1)
    for some in np.split(order, np.flatnonzero(np.diff(part)) + 1):
        found[some] = array[rows[some]]
        release(array)
    return found


def row_blocks(n_rows: int, block_rows: int) -> list[tuple[int, int]]:
    """Return the ranges ``(start, stop)`` of at most ``block_rows`` rows that cover ``n_rows`` rows."""
    if block_rows < 1:
        message = (
            f"block_rows must be at least 1; got {block_rows}. Give a positive number of rows."
        )
        raise InputError(message)
    return [(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows)]


def row_starts(lengths: IntArray) -> NDArray[np.int64]:
    """Return the CSR row pointers for rows of these lengths: int64, shape (n_rows + 1,)."""
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def index_dtype(n: int) -> np.dtype[Any]:
    """Return the dtype for row numbers of ``n`` rows: int32, or int64 if that is too small."""
    return np.dtype(np.int32 if n <= LARGEST_INT32 else np.int64)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each_block(
    work: Callable[[int, int], None],
    blocks: Iterable[tuple[int, int]],
    *,
    n_workers: int,
    on_rows: OnRows | None = None,
) -> None:
    """Call ``work(start, stop)`` for every block, with at most ``n_workers`` threads.

    The first error is raised, and blocks that have not started are cancelled.
    """
    if n_workers < 1:
        message = (
            f"n_workers must be at least 1; got {n_workers}. Give a positive number of threads."
        )
        raise InputError(message)
    listed = list(blocks)
    if n_workers == 1 or len(listed) <= 1:
        # k-means of a few hundred points makes thousands of passes of one block: starting threads took longer.
        for start, stop in listed:
            work(start, stop)
            if on_rows is not None:
                on_rows(stop - start)
        return
    with ThreadPoolExecutor(n_workers) as pool:
        rows_of = {pool.submit(work, start, stop): stop - start for start, stop in listed}
        try:
            for done in as_completed(rows_of):
                done.result()
                if on_rows is not None:
                    on_rows(rows_of[done])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class RowWriter:
    """Writes rows of a float32 ``.npy`` file of known shape, in any order and from any thread.

    Parameters
    ----------
    path
        File to create. It has its full length at once, and is sparse until rows are written.
    n_rows, n_columns
        Shape of the array.
    """

    def __init__(self, path: Path, n_rows: int, n_columns: int) -> None:
        self._row_bytes = 4 * n_columns
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_columns)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            self._data_start = file.tell()
            file.truncate(self._data_start + n_rows * self._row_bytes)
        self._descriptor = os.open(path, os.O_WRONLY)

    def write(self, start: int, rows: FloatArray) -> None:
        """Write ``rows``, float32, shape (n, n_columns), at row ``start``."""
        rest = np.ascontiguousarray(rows, dtype="<f4").reshape(-1).view(np.uint8).data
        offset = self._data_start + start * self._row_bytes
        while rest:  # pwrite may write less than it was given
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def write_leading(path: Path, rows: FloatArray, n_columns: int, *, block_rows: int) -> None:
    """Write the leading columns of an array or memory map of float32 into a ``.npy`` file, block by block."""
    with RowWriter(path, len(rows), n_columns) as writer:
        for start, stop in row_blocks(len(rows), block_rows):
            writer.write(start, rows[start:stop, :n_columns])
            release(rows)


def stored_array(name: str, file: str) -> Artifact[Any]:
    """Return the artifact that is the array in ``file`` of its stage's folder, opened as a read-only memory map."""

    def load(folder: Path) -> Any:
        return np.load(folder / file, mmap_mode="r")

    return Artifact(name, load)
