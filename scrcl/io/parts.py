"""CSR rows on disk as numbered parts of plain ``.npy`` files, read by memory maps.

A part is three arrays, ``part-000000.data.npy`` and so on; ``parts.json`` holds the row counts.
Parts are written in any order, by any thread, and read by ranges of rows.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scrcl._atomic import write_json
from scrcl.errors import StoreError
from scrcl.io.matrix import rows_from_reader

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da

    from scrcl.typing import Csr

__all__ = ["Parts", "write_index", "write_part"]


def write_part(folder: Path, number: int, rows: Csr) -> None:
    """Write ``rows`` as one part; its values keep their dtype."""
    for name in ("data", "indices", "indptr"):
        np.save(_file(folder, number, name), getattr(rows, name))


def write_index(folder: Path, part_rows: list[int], n_vars: int) -> None:
    """Write the row counts of all parts, in order; what makes the folder readable."""
    write_json(folder / "parts.json", {"n_vars": n_vars, "part_rows": part_rows})


class Parts:
    """Rows in a folder of parts.

    Raises
    ------
    StoreError
        The folder, or a part when it is read, is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "parts.json").read_text("utf-8"))
            self.n_vars = int(index["n_vars"])
            self._ends: list[int] = [0, *accumulate(index["part_rows"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{folder} must hold numbered parts; got {error!r}. Write it again."
            raise StoreError(msg) from error

    @property
    def n_obs(self) -> int:
        """Rows in all parts."""
        return self._ends[-1]

    def ranges(self) -> list[tuple[int, int]]:
        """Return the first row of each part, and the one after its last."""
        return list(pairwise(self._ends))

    def read(self, part: int, start: int = 0, stop: int | None = None) -> Csr:
        """Return rows ``start`` to ``stop`` of one part, copied into memory."""
        try:
            ends = None if stop is None else stop + 1
            indptr = np.load(_file(self.folder, part, "indptr"))[start:ends]
            values = slice(indptr[0], indptr[-1])
            data, indices = (
                np.array(np.load(_file(self.folder, part, name), mmap_mode="r")[values])
                for name in ("data", "indices")
            )
            return sparse.csr_matrix(
                (data, indices, indptr - indptr[0]), shape=(len(indptr) - 1, self.n_vars)
            )
        except (OSError, ValueError, IndexError) as error:
            msg = f"{self.folder} must hold part {part} whole; got {error}. Write it again."
            raise StoreError(msg) from error

    def rows(self, start: int, stop: int) -> Csr:
        """Return the rows ``start`` to ``stop`` (or the last), from the parts they lie in."""
        pieces = []
        stop = min(stop, self.n_obs)
        part = max(bisect_right(self._ends, start) - 1, 0)
        while start < stop:
            first, end = self._ends[part], self._ends[part + 1]
            if end > start:
                pieces.append(self.read(part, start - first, min(stop, end) - first))
                start = min(stop, end)
            part += 1
        if len(pieces) == 1:
            return pieces[0]
        if not pieces:
            return sparse.csr_matrix((0, self.n_vars), dtype=np.float32)
        return sparse.vstack(pieces, format="csr")

    def x(self, block_rows: int) -> da.Array:
        """Return row blocks of CSR, shape (n_obs, n_vars)."""
        return rows_from_reader(self.rows, shape=(self.n_obs, self.n_vars), block_rows=block_rows)


def _file(folder: Path, number: int, name: str) -> Path:
    return folder / f"part-{number:06d}.{name}.npy"
