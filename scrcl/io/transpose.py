"""Row-major (CSR) copy of a column-major matrix, within bounded memory.

Three sequential passes. The first counts the values of each cell. The second sorts the entries into buckets of
consecutive cells, all in one file. The third reads one bucket after another (each fits into memory) and writes
it as a part. The entries may come from any source that can be read twice: CSC arrays, or the text of an mtx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from scrcl._atomic import atomic_folder
from scrcl._warnings import logger_of
from scrcl.errors import InputError, StoreError
from scrcl.io.arrays import row_starts
from scrcl.io.identity import digest
from scrcl.io.parts import Parts, row_groups, write_index, write_part
from scrcl.io.stream import damage_named

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.typing import IntArray

__all__ = ["ENTRY", "CompressedColumns", "Scratch"]

_log = logger_of(__name__)

ENTRY = np.dtype([("row", "<i4"), ("column", "<i4"), ("value", "<f4")])
"""One entry of a matrix."""

_SORT_BYTES = 64
"""Most memory for an entry while it is sorted: the record, its key, the order and sorted copies."""


class _Entries(Protocol):
    """A matrix as entries in any order."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    def chunks(self, n_entries: int) -> Iterable[np.ndarray]:
        """Yield arrays of at most ``n_entries`` records of dtype `ENTRY`."""


_Source: TypeAlias = Callable[[], AbstractContextManager[_Entries]]


@dataclass(frozen=True)
class CompressedColumns:
    """Entries of a CSC matrix. ``data`` and ``indices`` may be on disk, ``indptr`` is in memory.

    ``label`` names the matrix in messages.
    """

    data: Any
    indices: Any
    indptr: IntArray
    shape: tuple[int, int]
    label: str = "The matrix"

    def chunks(self, n_entries: int) -> Iterator[np.ndarray]:
        """Yield the entries, column by column.

        Raises
        ------
        StoreError
            The parts do not fit each other, or an entry is of a cell that there is not.
        """
        self._require_fit()
        for start in range(0, int(self.indptr[-1]), n_entries):
            stop = min(start + n_entries, int(self.indptr[-1]))
            entries = np.empty(stop - start, dtype=ENTRY)
            rows = np.asarray(self.indices[start:stop])
            if not 0 <= int(rows.min()) <= int(rows.max()) < self.shape[0]:
                at = int(np.argmax((rows < 0) | (rows >= self.shape[0])))
                message = (
                    f"{self.label} must have values of {self.shape[0]:,} cells; value {start + at:,} is of cell "
                    f"{int(rows[at]):,}. Copy or download it again."
                )
                raise StoreError(message)
            entries["row"] = rows
            entries["value"] = self.data[start:stop]
            positions = np.arange(start, stop)
            entries["column"] = np.searchsorted(self.indptr, positions, side="right") - 1
            yield entries

    def _require_fit(self) -> None:
        n_values, n_indices, ends = self.data.shape[0], self.indices.shape[0], self.indptr
        is_whole = len(ends) == self.shape[1] + 1 and ends[0] == 0 and ends[-1] == n_values
        if n_values != n_indices or not is_whole or (np.diff(ends.astype(np.int64)) < 0).any():
            message = (
                f"{self.label} must be complete; {n_values:,} values, {n_indices:,} indices and the ends of its genes "
                f"do not fit each other and {self.shape[1]:,} genes. Copy or download it again."
            )
            raise StoreError(message)


@dataclass(frozen=True)
class Scratch:
    """Where row-major copies are written, and roughly how much memory writing one may take."""

    folder: Path | None
    block_bytes: int

    def row_major(self, source: _Source, *, label: str, identity: dict[str, Any]) -> Parts:
        """Return the row-major copy of ``source``. It is made now unless one with this identity exists.

        Raises
        ------
        InputError
            There is no scratch folder.
        StoreError
            The source is damaged.
        """
        if self.folder is None:
            message = (
                f"{label} is stored by genes (column-major) and must be copied to row-major before it is "
                "read; got no folder for the copy. Give scratch=FOLDER."
            )
            raise InputError(message)
        copy = self.folder / f"{label[:40]}-{digest(identity)}"
        if not copy.exists():
            copy_row_major(source, copy, block_bytes=self.block_bytes, label=label)
        return Parts(copy)


def copy_row_major(source: _Source, folder: Path, *, block_bytes: int, label: str) -> None:
    """Write the entries of ``source`` as CSR float32 parts into a new ``folder``.

    Peak memory is about ``block_bytes`` (or one row) and 24 bytes for each row. On disk an entry takes 20 bytes
    while copying, 8 bytes afterwards. ``label`` names the source in messages.

    Raises
    ------
    StoreError
        The source cannot be read to its end.
    """
    n_entries = max(block_bytes // _SORT_BYTES, 1)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as partial, source() as entries:
        n_obs, n_vars = entries.shape
        ends = np.zeros(n_obs + 1, dtype=np.int64)
        for chunk in _readable(entries.chunks(n_entries), label):
            ends[1:] += np.bincount(chunk["row"], minlength=n_obs)
        np.cumsum(ends, out=ends)
        starts = row_groups(ends, n_entries)
        buckets = partial / "buckets.bin"
        _fill_buckets(buckets, _readable(entries.chunks(n_entries), label), starts, ends)
        n_repeated = 0
        with buckets.open("rb") as file:
            for number, (first, stop) in enumerate(pairwise(starts.tolist())):
                bucket = np.fromfile(file, dtype=ENTRY, count=int(ends[stop] - ends[first]))
                coords = (bucket["row"] - first, bucket["column"])
                rows = sparse.coo_matrix(
                    (bucket["value"], coords), shape=(stop - first, n_vars)
                ).tocsr()
                n_repeated += len(bucket) - rows.nnz
                rows.sort_indices()
                write_part(partial, number, rows)
        buckets.unlink()
        if n_repeated:
            _log.warning(
                "%s: %s for the same cell and gene as another. Their values are added",
                label,
                "1 entry is" if n_repeated == 1 else f"{n_repeated:,} entries are",
            )
        write_index(partial, np.diff(starts).tolist(), n_vars)


def _fill_buckets(
    path: Path, chunks: Iterable[np.ndarray], starts: IntArray, ends: IntArray
) -> None:
    """Write the entries of each bucket next to each other, in the order in which they come."""
    next_entry = ends[starts[:-1]].copy()
    # NumPy sorts keys of 16 bits or fewer in linear time (radix sort).
    key_type = np.min_scalar_type(len(starts))
    with path.open("wb") as file:
        for chunk in chunks:
            keys = (np.searchsorted(starts, chunk["row"], side="right") - 1).astype(key_type)
            sorted_chunk = chunk[np.argsort(keys, kind="stable")]
            sizes = np.bincount(keys, minlength=len(next_entry))
            borders = row_starts(sizes)
            for bucket in np.flatnonzero(sizes):
                file.seek(next_entry[bucket] * ENTRY.itemsize)
                sorted_chunk[borders[bucket] : borders[bucket + 1]].tofile(file)
            next_entry += sizes


def _readable(chunks: Iterable[np.ndarray], label: str) -> Iterator[np.ndarray]:
    with damage_named(f"{label} must be readable to its end"):
        yield from chunks
