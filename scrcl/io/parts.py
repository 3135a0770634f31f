"""CSR rows on disk, as numbered parts of plain ``.npy`` files.

A part consists of three arrays: ``part-000000.data.npy``, ``.indices.npy`` and ``.indptr.npy``. The file
``parts.json`` lists the number of rows of each part. Parts can be written in any order and by any thread. Rows
are read by ranges, through memory maps. On disk columns are uint16 if they all fit; in memory they are
int32.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
from scipy import sparse

from scrcl._atomic import write_json
from scrcl.errors import StoreError
from scrcl.io.arrays import row_starts
from scrcl.io.rows import rows_from_reader

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
    "Parts",
    "column_dtype",
    "row_groups",
    "write_arrays",
    "write_index",
    "write_part",
]


def row_groups(ends: IntArray, n_values: int) -> NDArray[np.int64]:
    """Return the first row of each group of at most ``n_values`` values (or one row), and the number of rows.

    Parameters
    ----------
    ends
        CSR row pointers: ndarray of int, shape (n_rows + 1,).
    """
    starts, n_rows = [0], len(ends) - 1
    while starts[-1] < n_rows:
        limit = ends[starts[-1]] + n_values
        fitting = int(np.searchsorted(ends, limit, side="right")) - 1
        starts.append(max(fitting, starts[-1] + 1))
    return np.array(starts)


def column_dtype(n_vars: int) -> type[np.uint16 | np.int32]:
    """Return the dtype in which column indices are written: uint16, or int32 if there are too many."""
    return np.uint16 if n_vars <= np.iinfo(np.uint16).max + 1 else np.int32


def write_part(folder: Path, number: int, rows: Csr) -> None:
    """Write ``rows`` as one part."""
    indices = rows.indices.astype(column_dtype(rows.shape[1]), copy=False)
    write_arrays(folder, number, rows.data, indices, rows.indptr)


def write_arrays(
    folder: Path, number: int, data: FloatArray, indices: IntArray, indptr: IntArray
) -> None:
    """Write the three arrays of a CSR matrix as one part, without conversion."""
    for name, values in (("data", data), ("indices", indices), ("indptr", indptr)):
        np.save(_file(folder, number, name), values)


def write_index(folder: Path, part_rows: list[int], n_vars: int) -> None:
    """Write ``parts.json``, with the number of rows of each part. Without it the folder cannot be read."""
    write_json(folder / "parts.json", {"n_vars": n_vars, "part_rows": part_rows})


class Parts:
    """Rows in a folder of parts.

    Raises
    ------
    StoreError
        The folder is missing or damaged; when reading, a part is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "parts.json").read_text("utf-8"))
            self.n_vars = int(index["n_vars"])
            self._ends: list[int] = [0, *accumulate(index["part_rows"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{folder} must hold numbered parts; got {error!r}. Write it again."
            raise StoreError(message) from error

    @property
    def n_obs(self) -> int:
        """Number of rows in all parts."""
        return self._ends[-1]

    def parts(self) -> list[tuple[int, int]]:
        """Return the range of rows ``(start, stop)`` of each part."""
        return list(pairwise(self._ends))

    def read(self, part: int, start: int = 0, stop: int | None = None) -> Csr:
        """Return rows ``start`` to ``stop`` of one part, in memory."""
        try:
            ends = None if stop is None else stop + 1
            indptr = np.load(_file(self.folder, part, "indptr"))[start:ends]
            values = slice(indptr[0], indptr[-1])
            data = np.load(_file(self.folder, part, "data"), mmap_mode="r")[values]
            indices = np.load(_file(self.folder, part, "indices"), mmap_mode="r")[values]
            return self._csr(data, indices, indptr - indptr[0])
        except (OSError, ValueError, IndexError) as error:
            message = f"{self.folder} must hold part {part}; got {error}. Write it again."
            raise StoreError(message) from error

    def rows(self, start: int, stop: int) -> Csr:
        """Return the rows ``start`` to ``stop`` (at most the last), from one or more parts."""
        pieces = []
        stop = min(stop, self.n_obs)
        part = max(bisect_right(self._ends, start) - 1, 0)
        while start < stop:
            first, end = self._ends[part], self._ends[part + 1]
            if end > start:
                pieces.append(self.read(part, start - first, min(stop, end) - first))
                start = min(stop, end)
            part += 1
        return self._joined(pieces)

    def gather(self, rows: IntArray) -> Csr:
        """Return some rows, in ascending order, as CSR in memory. Only their values are read.

        Parameters
        ----------
        rows
            ndarray of int64, shape (n,): ascending.
        """
        number = np.searchsorted(self._ends, rows, side="right") - 1
        return self._joined(
            [
                self._gather(int(part), rows[number == part] - self._ends[part])
                for part in np.unique(number)
            ]
        )

    def _joined(self, pieces: list[Csr]) -> Csr:
        if not pieces:
            return sparse.csr_matrix((0, self.n_vars), dtype=np.float32)
        return pieces[0] if len(pieces) == 1 else sparse.vstack(pieces, format="csr")

    def _gather(self, part: int, rows: IntArray) -> Csr:
        try:
            indptr = np.load(_file(self.folder, part, "indptr"))
            stored = {
                name: np.load(_file(self.folder, part, name), mmap_mode="r")
                for name in ("data", "indices")
            }
            starts, lengths = indptr[rows], indptr[rows + 1] - indptr[rows]
            ends = row_starts(lengths)
            at = np.arange(ends[-1]) + np.repeat(starts - ends[:-1], lengths)
            return self._csr(stored["data"][at], stored["indices"][at], ends)
        except (OSError, ValueError, IndexError) as error:
            message = f"{self.folder} must hold part {part}; got {error}. Write it again."
            raise StoreError(message) from error

    def _csr(self, data: FloatArray, indices: IntArray, indptr: IntArray) -> Csr:
        """Return stored rows in the dtypes that they have in memory: all that is read comes through here."""
        arrays = np.array(data), indices.astype(np.int32), indptr
        return sparse.csr_matrix(arrays, shape=(len(indptr) - 1, self.n_vars))

    def x(self, block_rows: int) -> da.Array:
        """Return a dask array of CSR row blocks, shape (n_obs, n_vars)."""
        return rows_from_reader(self.rows, shape=(self.n_obs, self.n_vars), block_rows=block_rows)

    def x_parts(self) -> da.Array:
        """Return a dask array with a CSR row block for each part that has rows, shape (n_obs, n_vars)."""
        return da.concatenate(
            [
                rows_from_reader(
                    partial(self._whole, part),
                    shape=(stop - start, self.n_vars),
                    block_rows=stop - start,
                )
                for part, (start, stop) in enumerate(self.parts())
                if stop > start
            ]
        )

    def _whole(self, part: int, _start: int, _stop: int) -> Csr:
        return self.read(part)


def _file(folder: Path, number: int, name: str) -> Path:
    return folder / f"part-{number:06d}.{name}.npy"
