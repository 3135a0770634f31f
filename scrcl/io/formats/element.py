"""Rows of one matrix in a store, HDF5 or zarr, read by ranges; what is damaged is named.

A reader knows a path and the name of an element in it. It opens the store at its first read, in
whatever process that is, so it can be sent to another one.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from scrcl.errors import StoreError
from scrcl.io.matrix import StoredRows
from scrcl.io.stream import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scrcl.typing import IntArray

__all__ = ["CompressedRows", "DenseRows", "store_root"]

_PIPELINE = "zarrs.ZarrsCodecPipeline"
"""Scans a converted store 2.7 times as fast as zarr's own codecs do (bench.storage)."""

_setting = threading.Lock()


@contextmanager
def store_root(path: Path) -> Iterator[Any]:
    """Open the root group of a store to read: zarr where it is a folder, else HDF5."""
    if path.is_dir():
        yield _open_zarr(path)
    else:
        with h5py.File(path, "r") as file:
            yield file


def _open_zarr(path: Path) -> zarr.Group:
    # Not the consolidated metadata: other tools may have changed the store since.
    return zarr.open_group(path, mode="r", use_consolidated=False)


@contextmanager
def _fast_codecs() -> Iterator[None]:
    """Let the arrays that are opened inside decode by zarrs, where it is installed."""
    if find_spec("zarrs") is None:
        yield
        return
    # The setting is that of the whole process: one at a time, or it would not go back to what it was.
    with _setting, zarr.config.set({"codec_pipeline.path": _PIPELINE}):
        yield


class _Rows:
    """What both layouts share: opening, and finding the chunk that cannot be read."""

    def __init__(self, path: Path, name: str, shape: tuple[int, int]) -> None:
        self.path = path
        self.name = name
        self.shape = shape
        self._opening = threading.RLock()  # row pointers are read out of the element
        self._kept: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # What was opened stays behind: another process opens the store once, for all its blocks.
        return _shared, (type(self), self.path, self.name, self.shape, self.path.stat().st_mtime_ns)

    def _once(self, what: str, make: Callable[[], Any]) -> Any:
        """Return what ``make`` gives, made by the first thread that asks for it."""
        with self._opening:
            if what not in self._kept:
                self._kept[what] = make()
            return self._kept[what]

    @contextmanager
    def _element(self) -> Iterator[Any]:
        if self.path.is_dir():
            yield self._once("element", self._open_element)
        else:
            with h5py.File(self.path, "r") as file:
                yield file[self.name]

    def _open_element(self) -> Any:
        """Return the arrays of the element, opened once: reading their metadata takes longer than a block."""
        with _fast_codecs():
            element = _open_zarr(self.path)[self.name]
            if isinstance(element, zarr.Array):
                return element
            return {name: element[name] for name in ("data", "indices", "indptr")}

    def _fail(self, broken: str, rows: tuple[int, int], why: object) -> StoreError:
        return StoreError(
            f"{self.path.name} must be readable; {broken}, which holds values of rows {rows[0]:,} "
            f"to {rows[1]:,}, is not: {why}. Copy or download it again."
        )


@lru_cache(maxsize=8)
def _shared(kind: type[_Rows], path: Path, name: str, shape: tuple[int, int], _: int) -> _Rows:
    """Return the one reader of an element in this process; the last argument is when it changed."""
    return kind(path, name, shape)


class CompressedRows(_Rows):
    """Reads rows of CSR arrays (``data``, ``indices``, ``indptr`` in one group).

    The row pointers of all cells are kept in memory, 8 bytes a cell.

    Raises
    ------
    StoreError
        When called: a chunk is damaged. The message names it, and the rows that it holds.
    """

    def __call__(self, start: int, stop: int) -> StoredRows:
        """Return the rows ``start`` to ``stop``, of the dtypes that are stored."""
        ends = self._indptr[start : stop + 1]
        first, last = int(ends[0]), int(ends[-1])
        with self._element() as arrays:
            data = self._read(arrays, "data", first, last)
            indices = self._read(arrays, "indices", first, last)
            self._require_columns(arrays, indices, first)
        return StoredRows(data, indices, ends - first, self.shape[1])

    @property
    def _indptr(self) -> IntArray:
        indptr: IntArray = self._once("indptr", self._read_indptr)
        return indptr

    def _read_indptr(self) -> IntArray:
        with self._element() as arrays:
            n_values = int(arrays["data"].shape[0])
            try:
                indptr: IntArray = np.asarray(arrays["indptr"][...]).astype(np.int64, copy=False)
            except DAMAGE as error:
                raise self._fail(f"{self.name}/indptr", (0, self.shape[0] - 1), error) from error
        whole = len(indptr) == self.shape[0] + 1 and indptr[0] == 0 and indptr[-1] == n_values
        if not (whole and (np.diff(indptr) >= 0).all()):
            msg = (
                f"{self.path.name} must be whole; {self.name}/indptr does not fit its "
                f"{self.shape[0]:,} rows and {n_values:,} values. Copy or download it again."
            )
            raise StoreError(msg)
        return indptr

    def _read(self, arrays: Any, name: str, first: int, last: int) -> np.ndarray:
        try:
            return np.asarray(arrays[name][first:last])
        except DAMAGE as error:
            raise self._blame(arrays[name], f"{self.name}/{name}", first, last, error) from error

    def _blame(self, array: Any, name: str, first: int, last: int, error: Exception) -> StoreError:
        chunk, start, stop = _first_broken(array, name, first, last)
        return self._fail(chunk, self._rows_of(start, stop), _reason(error))

    def _rows_of(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first and the last row that have values in a range of values."""
        first = int(np.searchsorted(self._indptr, start, side="right")) - 1
        last = int(np.searchsorted(self._indptr, stop, side="left")) - 1
        return first, max(first, last)

    def _require_columns(self, arrays: Any, indices: np.ndarray, first: int) -> None:
        """Raise StoreError at an index outside the genes: nothing after this could notice it."""
        n_vars = self.shape[1]
        if not len(indices) or (int(indices.min()) >= 0 and int(indices.max()) < n_vars):
            return
        at = first + int(np.argmax((indices < 0) | (indices >= n_vars)))
        chunk, start, stop = _chunk_at(arrays["indices"], f"{self.name}/indices", at)
        why = f"it names gene {int(indices[at - first]):,} of {n_vars:,}"
        raise self._fail(chunk, self._rows_of(start, stop), why)


class DenseRows(_Rows):
    """Reads rows of a two-dimensional array.

    Raises
    ------
    StoreError
        When called: a chunk is damaged. The message names it, and its rows.
    """

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return the rows ``start`` to ``stop``, of the dtype that is stored."""
        with self._element() as array:
            try:
                return np.asarray(array[start:stop])
            except DAMAGE as error:
                chunk, first, last = _first_broken(array, self.name, start, stop)
                raise self._fail(chunk, (first, last - 1), _reason(error)) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip(": .")


def _first_broken(array: Any, name: str, start: int, stop: int) -> tuple[str, int, int]:
    """Return the name and range of the first chunk in a range that cannot be read by itself."""
    length = array.chunks[0] if array.chunks else max(stop - start, 1)
    for at in range(start - start % length, stop, length):
        chunk, first, last = _chunk_at(array, name, at)
        try:
            array[first:last]
        except DAMAGE:
            return chunk, first, last
    return name, start, stop


def _chunk_at(array: Any, name: str, position: int) -> tuple[str, int, int]:
    """Return the name of the chunk at a position along the first axis, and its range there."""
    if not array.chunks:
        return name, 0, len(array)
    length = array.chunks[0]
    first = position - position % length
    last = min(first + length, array.shape[0])
    if not isinstance(array, zarr.Array):
        return f"chunk {position // length:,} of {name}", first, last
    outer = (array.shards or array.chunks)[0]
    key = array.metadata.encode_chunk_key((position // outer, *([0] * (array.ndim - 1))))
    if array.shards:
        return f"chunk {position % outer // length:,} of shard {name}/{key}", first, last
    return f"chunk {name}/{key}", first, last
