"""Readers for rows of one matrix in an HDF5 or Zarr store. They name the part that is damaged.

A reader knows the path and the name of the element, and opens the store at its first read. So it can be pickled
and sent to another process.
"""

from __future__ import annotations

import threading
import zipfile
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from scrcl.errors import StoreError
from scrcl.io.rows import StoredRows
from scrcl.io.stream import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scrcl.typing import IntArray

__all__ = [
    "CompressedRows",
    "DenseRows",
    "is_zarr",
    "require_sparse",
    "store_root",
    "zip_root",
]

_PIPELINE = "zarrs.ZarrsCodecPipeline"
"""Reads a converted store 2.7 times as fast as the codecs of zarr itself (``bench.storage``)."""

_setting = threading.Lock()


def is_zarr(path: Path) -> bool:
    """Return whether a store can only be Zarr: a folder, or a zip file of one."""
    return path.is_dir() or zipfile.is_zipfile(path)


def zip_root(path: Path) -> str | None:
    """Return where the root of a Zarr is in a zip file: at the top, or in its only folder. None if it holds none."""
    with zipfile.ZipFile(path) as packed:
        names = set(packed.namelist())
    tops = {name.partition("/")[0] for name in names}
    for top in ("", *(f"{name}/" for name in tops if len(tops) == 1)):
        if names & {f"{top}zarr.json", f"{top}.zgroup"}:
            return top.rstrip("/")
    return None


@contextmanager
def store_root(path: Path) -> Iterator[Any]:
    """Open the root group of a store for reading: Zarr if it is a folder or a zip file, else HDF5."""
    if is_zarr(path):
        try:
            root = _open_zarr(path)
        except zarr.errors.ContainsArrayError as error:
            message = f"{path} must hold an AnnData; it is a single array. Give the folder of the whole store."
            raise StoreError(message) from error
        yield root
    else:
        with h5py.File(path, "r") as file:
            yield file


def _open_zarr(path: Path) -> zarr.Group:
    # Consolidated metadata may be out of date: another tool may have changed the store.
    if path.is_dir():
        return zarr.open_group(path, mode="r", use_consolidated=False)
    packed = zarr.storage.ZipStore(path, mode="r")
    return zarr.open_group(packed, path=zip_root(path), mode="r", use_consolidated=False)


@contextmanager
def _fast_codecs() -> Iterator[None]:
    """Make arrays that are opened inside the block use zarrs, if it is installed."""
    if find_spec("zarrs") is None:
        yield
        return
    # The setting is global. Without the lock, two threads could restore it in the wrong order.
    with _setting, zarr.config.set({"codec_pipeline.path": _PIPELINE}):
        yield


class _Rows:
    """Common part of both layouts: opens the element, and finds the chunk that cannot be read."""

    def __init__(self, path: Path, name: str, shape: tuple[int, int]) -> None:
        self.path = path
        self.name = name
        self.shape = shape
        self._opening = threading.RLock()  # reentrant: reading `indptr` opens the element
        self._cache: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files are not pickled. A process that unpickles readers opens the store once, for all blocks.
        return _shared, (type(self), self.path, self.name, self.shape, self.path.stat().st_mtime_ns)

    def _cached(self, key: str, make: Callable[[], Any]) -> Any:
        """Return ``make()``, computed only once."""
        with self._opening:
            if key not in self._cache:
                self._cache[key] = make()
            return self._cache[key]

    @contextmanager
    def _element(self) -> Iterator[Any]:
        if is_zarr(self.path):
            yield self._cached("element", self._open_element)
        else:
            with h5py.File(self.path, "r") as file:
                yield file[self.name]

    def _open_element(self) -> Any:
        """Return the Zarr arrays of the element. Opening reads metadata, which takes longer than a block."""
        # zarrs reads no zip files.
        with _fast_codecs() if self.path.is_dir() else nullcontext():
            element = _open_zarr(self.path)[self.name]
            if isinstance(element, zarr.Array):
                return element
            return {name: element[name] for name in ("data", "indices", "indptr")}

    def _fail(self, broken: str, rows: tuple[int, int], why: object) -> StoreError:
        message = (
            f"{self.path.name} must be readable; {broken}, with values of rows {rows[0]:,} to {rows[1]:,}, "
            f"is not: {why}. Copy or download it again."
        )
        return StoreError(message)


@lru_cache(maxsize=8)
def _shared(kind: type[_Rows], path: Path, name: str, shape: tuple[int, int], _: int) -> _Rows:
    """Return the reader of an element, the same for each call. The last argument is the time of change."""
    return kind(path, name, shape)


class CompressedRows(_Rows):
    """Reads rows of CSR arrays (``data``, ``indices``, ``indptr`` in one group).

    The row pointers of all cells stay in memory, 8 bytes for each cell.

    Raises
    ------
    StoreError
        When called: a chunk is damaged. The message names the chunk and its rows.
    """

    def __call__(self, start: int, stop: int) -> StoredRows:
        """Return the rows ``start`` to ``stop`` in the stored dtypes."""
        ends = self._indptr[start : stop + 1]
        first, last = int(ends[0]), int(ends[-1])
        with self._element() as arrays:
            data = self._read(arrays, "data", first, last)
            indices = self._read(arrays, "indices", first, last)
            self._require_columns(arrays, indices, first)
        return StoredRows(data, indices, ends - first, self.shape[1])

    @property
    def _indptr(self) -> IntArray:
        indptr: IntArray = self._cached("indptr", self._read_indptr)
        return indptr

    def _read_indptr(self) -> IntArray:
        with self._element() as arrays:
            n_values = int(arrays["data"].shape[0])
            try:
                indptr: IntArray = np.asarray(arrays["indptr"][...]).astype(np.int64, copy=False)
            except DAMAGE as error:
                raise self._fail(f"{self.name}/indptr", (0, self.shape[0] - 1), error) from error
        fits = len(indptr) == self.shape[0] + 1 and indptr[0] == 0 and indptr[-1] == n_values
        if not (fits and (np.diff(indptr) >= 0).all()):
            message = (
                f"{self.path.name} must be complete; {self.name}/indptr does not fit its "
                f"{self.shape[0]:,} rows and {n_values:,} values. Copy or download it again."
            )
            raise StoreError(message)
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
        """Return the first and last row with values in the range ``start`` to ``stop`` of ``data``."""
        first = int(np.searchsorted(self._indptr, start, side="right")) - 1
        last = int(np.searchsorted(self._indptr, stop, side="left")) - 1
        return first, max(first, last)

    def _require_columns(self, arrays: Any, indices: np.ndarray, first: int) -> None:
        """Raise StoreError if an index is outside the genes. No later step would notice it."""
        n_vars = self.shape[1]
        if not len(indices) or (int(indices.min()) >= 0 and int(indices.max()) < n_vars):
            return
        at = first + int(np.argmax((indices < 0) | (indices >= n_vars)))
        chunk, start, stop = _chunk_at(arrays["indices"], f"{self.name}/indices", at)
        why = f"it refers to gene {int(indices[at - first]):,} of {n_vars:,}"
        raise self._fail(chunk, self._rows_of(start, stop), why)


def require_sparse(group: Any, *, name: str, label: str, parts: tuple[str, ...] = ()) -> None:
    """Raise StoreError unless a sparse matrix has lists of numbers, and as many positions as values.

    ``parts`` are further lists of whole numbers. A library would convert other types in silence.
    """
    for part in ("data", "indices", "indptr", *parts):
        kinds, rule = ("biuf", "numbers") if part == "data" else ("iu", "whole numbers")
        array = group.get(part)
        if array is None or getattr(array, "ndim", 0) != 1 or array.dtype.kind not in kinds:
            found = "nothing" if array is None else str(getattr(array, "dtype", "a group"))
            message = (
                f"{name}/{part} of {label} must be a list of {rule}; got {found}. Write it again."
            )
            raise StoreError(message)
    data, indices = group["data"], group["indices"]
    if data.shape[0] != indices.shape[0]:
        message = (
            f"{label} must have an index for each value; {name}/indices has {indices.shape[0]:,} for "
            f"{data.shape[0]:,} in {name}/data. Copy or download it again."
        )
        raise StoreError(message)


class DenseRows(_Rows):
    """Reads rows of a two-dimensional array.

    Raises
    ------
    StoreError
        When called: a chunk is damaged. The message names the chunk and its rows.
    """

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return the rows ``start`` to ``stop`` in the stored dtype."""
        with self._element() as array:
            try:
                return np.asarray(array[start:stop])
            except DAMAGE as error:
                chunk, first, last = _first_broken(array, self.name, start, stop)
                raise self._fail(chunk, (first, last - 1), _reason(error)) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip(": .")


def _first_broken(array: Any, name: str, start: int, stop: int) -> tuple[str, int, int]:
    """Return the name and range of the first unreadable chunk between ``start`` and ``stop``."""
    length = array.chunks[0] if array.chunks else max(stop - start, 1)
    for at in range(start - start % length, stop, length):
        chunk, first, last = _chunk_at(array, name, at)
        try:
            array[first:last]
        except DAMAGE:
            return chunk, first, last
    return name, start, stop


def _chunk_at(array: Any, name: str, position: int) -> tuple[str, int, int]:
    """Return the name of the chunk at a position of the first axis, and its range on that axis."""
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
