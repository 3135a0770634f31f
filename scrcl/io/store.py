"""A matrix copied into the store that streams fastest: CSR in sharded Zarr v3, as AnnData.

Two reads. The first (`survey`) learns the length of each row and which dtype holds all values; the
second streams the values, in order, into shards. A shard is one file, written once and whole; so
the number of finished shards is all that resuming needs, and the bytes are the same after a kill.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from anndata import AnnData
from anndata import settings as anndata_settings
from anndata.io import write_elem
from scipy import sparse
from zarr.codecs import ZstdCodec

from scrcl._atomic import flush, remove
from scrcl.errors import InputError
from scrcl.io.parts import index_dtype, row_starts
from scrcl.io.results import storable
from scrcl.io.stream import iter_rows, reduce_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import dask.array as da

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr, IntArray, OnRows

__all__ = [
    "CHUNK_VALUES",
    "SHARD_VALUES",
    "Survey",
    "create_store",
    "fill_values",
    "finish_store",
    "survey",
]

CHUNK_VALUES = 1 << 17
"""Values that are compressed together; chosen by ``bench.storage``.

By zstd, whose frames carry a checksum. lz4 decodes faster (1.4 times the cells a second), but a
crc32c beside it is of no use: zarrs reads parts of chunks, and checks no chunk that it takes a part of.
"""

SHARD_VALUES = 1 << 23
"""Values in a file: at most 64 MB of float32 and int32 before compression."""

_SINGLE_INTEGERS = 1 << 24
_EMPTY = sparse.csr_matrix((0, 0), dtype=np.float32)
_COUNTS = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True)
class Survey:
    """What must be known of a matrix before it is written.

    Parameters
    ----------
    indptr
        Where each row begins: int64, shape (n_obs + 1,).
    dtype
        The smallest dtype that holds every value as it is; see `survey`.
    """

    indptr: IntArray
    dtype: np.dtype[Any]

    @property
    def n_values(self) -> int:
        """Stored values."""
        return int(self.indptr[-1])

    def in_order(self, order: IntArray) -> Survey:
        """Return the survey of the rows ``order``."""
        return Survey(row_starts(np.diff(self.indptr)[order]), self.dtype)


@dataclass(frozen=True)
class _Values:
    """What one block says: lengths of its rows, and the range and kind of its values."""

    lengths: list[IntArray]
    smallest: float
    largest: float
    whole: bool
    single: bool


def survey(
    x: da.Array, *, by_genes: bool = False, n_workers: int = 2, on_rows: OnRows | None = None
) -> Survey:
    """Return row starts and value dtype of a matrix of `scrcl.io.stored_dtype.exact_x`, in one read.

    Whole numbers from 0 become uint8, uint16 or uint32, by the largest. Anything else becomes
    float32 where each value is one, float64 where not. Nothing is ever rounded.

    Parameters
    ----------
    by_genes
        The source lies by genes in a dtype wider than float32, and its copy by rows is float32:
        only whole numbers below 2^24 are taken then, which such a copy cannot have changed.

    Raises
    ------
    InputError
        A value cannot be kept exactly.
    StoreError
        A block could not be read.
    """

    def combine(total: _Values, more: _Values) -> _Values:
        total.lengths.extend(more.lengths)
        return _Values(
            total.lengths,
            min(total.smallest, more.smallest),
            max(total.largest, more.largest),
            total.whole and more.whole,
            total.single and more.single,
        )

    found = reduce_rows(x, _look_at, combine, n_workers=n_workers, on_rows=on_rows)
    if by_genes and not (found.whole and _magnitude(found) < _SINGLE_INTEGERS):
        msg = (
            "Values by genes must be float32, or whole numbers below 16,777,216, to be copied "
            f"exactly; got others up to {found.largest:g}. Store X by cells (CSR), or as float32."
        )
        raise InputError(msg)
    return Survey(row_starts(np.concatenate(found.lengths)), _value_dtype(found))


def _look_at(_: int, block: Csr) -> _Values:
    data = block.data
    is_float = data.dtype.kind == "f"
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.can_cast(data.dtype, np.float32) or np.array_equal(
            data, data.astype(np.float32).astype(data.dtype), equal_nan=is_float
        )
        return _Values(
            lengths=[np.diff(block.indptr).astype(np.int32)],
            smallest=float(data.min(initial=0)),
            largest=float(data.max(initial=0)),
            whole=not is_float or bool((np.trunc(data) == data).all()),
            single=bool(single),
        )


def _magnitude(found: _Values) -> float:
    return max(found.largest, -found.smallest)


def _value_dtype(found: _Values) -> np.dtype[Any]:
    if found.whole and found.smallest >= 0:
        for dtype in _COUNTS:
            if found.largest <= np.iinfo(dtype).max:
                return np.dtype(dtype)
    if found.single:
        return np.dtype(np.float32)
    if found.whole and _magnitude(found) > 1 << 53:
        msg = f"Whole numbers must be at most 2^53 in size; got {found.largest:g}. Check the input."
        raise InputError(msg)
    return np.dtype(np.float64)


def create_store(path: Path, matrix: CellMatrix, found: Survey, uns: dict[str, Any]) -> None:
    """Write a store with all but the values of X into a new folder ``path``.

    Tables are written as `scrcl.io.results` does: what AnnData cannot store becomes strings.
    """
    tables = AnnData(obs=storable(matrix.obs), var=storable(matrix.var), obsm=matrix.obsm, uns=uns)
    remove(path)
    with _quietly():
        root = zarr.open_group(path, mode="w", zarr_format=3)
        write_elem(root, "/", tables)
        x = root.create_group(
            "X",
            attributes={
                "encoding-type": "csr_matrix",
                "encoding-version": "0.1.0",
                "shape": [matrix.n_obs, matrix.n_vars],
            },
        )
        _create_array(x, "data", found.n_values, found.dtype)
        _create_array(x, "indices", found.n_values, np.dtype(index_dtype(matrix.n_vars)))
        indptr = _create_array(x, "indptr", len(found.indptr), found.indptr.dtype)
        for start in range(0, len(found.indptr), SHARD_VALUES):
            indptr[start : start + SHARD_VALUES] = found.indptr[start : start + SHARD_VALUES]


def _create_array(group: Any, name: str, length: int, dtype: np.dtype[Any]) -> Any:
    return group.create_array(
        name,
        shape=(length,),
        dtype=dtype,
        chunks=(CHUNK_VALUES,),
        shards=(SHARD_VALUES,),
        compressors=[ZstdCodec(level=3, checksum=True)],
    )


def fill_values(
    path: Path,
    x: da.Array,
    indptr: IntArray,
    *,
    n_done: int = 0,
    on_shard: Callable[[int], None],
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> None:
    """Stream the values of ``x`` from the ``n_done``-th on into the store at ``path``.

    Peak memory: a shard of data and indices, as they are and compressed, and ``n_workers`` + 2
    blocks.

    Parameters
    ----------
    x
        Row blocks, as `survey` saw them.
    n_done
        Values in finished shards; files after them are removed.
    on_shard
        Told the number of values on disk after each shard, which a later call may begin at.

    Raises
    ------
    StoreError
        A block could not be read.
    """
    if n_done == indptr[-1]:
        return
    # A chunk of zeros (counts of the first gene alone) that is left out would look lost.
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(path / "X", mode="r+")
        arrays = [group["data"], group["indices"]]
    folders = [path / "X" / name / "c" for name in ("data", "indices")]
    _drop_unfinished(folders, n_done // SHARD_VALUES)
    ends = np.cumsum([0, *x.chunks[0]])
    first = min(int(np.searchsorted(indptr[ends], n_done, side="right")) - 1, len(ends) - 2)
    if on_rows is not None:
        on_rows(int(ends[first]))
    blocks = _narrow_blocks(x.blocks[first:], arrays, n_workers, on_rows)
    position = n_done
    for pieces in _in_shards(blocks, skip=n_done - int(indptr[ends[first]])):
        stop = position + len(pieces[0])
        for array, piece in zip(arrays, pieces, strict=True):
            array[position:stop] = piece
        for folder in folders:
            flush(folder / str(position // SHARD_VALUES))
        position = stop
        on_shard(position)
    assert position == indptr[-1], "the input changed between the two reads"


def _narrow_blocks(
    x: da.Array, arrays: list[Any], n_workers: int, on_rows: OnRows | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield values and columns of each block in the dtypes of ``arrays``."""
    narrow = partial(_narrow, values=arrays[0].dtype, columns=arrays[1].dtype)
    narrowed = x.map_blocks(narrow, dtype=arrays[0].dtype, meta=_EMPTY)
    for (_, block), n_rows in zip(iter_rows(narrowed, n_ahead=n_workers), x.chunks[0], strict=True):
        yield block
        if on_rows is not None:
            on_rows(n_rows)


def _narrow(
    block: Csr, values: np.dtype[Any], columns: np.dtype[Any]
) -> tuple[np.ndarray, np.ndarray]:
    return block.data.astype(values, copy=False), block.indices.astype(columns, copy=False)


def _in_shards(
    blocks: Iterator[tuple[np.ndarray, np.ndarray]], skip: int
) -> Iterator[list[np.ndarray]]:
    """Yield all values after the first ``skip`` in whole shards and a rest; views, used at once."""
    shard: list[np.ndarray] = []
    filled = 0
    for block in blocks:
        shard = shard or [np.empty(SHARD_VALUES, dtype=each.dtype) for each in block]
        start, stop = min(skip, len(block[0])), len(block[0])
        skip -= start
        while start < stop:
            taken = min(stop - start, SHARD_VALUES - filled)
            for whole, each in zip(shard, block, strict=True):
                whole[filled : filled + taken] = each[start : start + taken]
            start, filled = start + taken, filled + taken
            if filled == SHARD_VALUES:
                yield shard
                filled = 0
    if filled:
        yield [whole[:filled] for whole in shard]


def _drop_unfinished(folders: list[Path], n_shards: int) -> None:
    finished = {str(number) for number in range(n_shards)}
    for folder in folders:
        for file in folder.iterdir() if folder.exists() else ():
            if file.name not in finished:
                remove(file)


def finish_store(path: Path) -> None:
    """Gather the metadata in one file, which makes the store quick to open, and flush it all."""
    for cut in (path / "X").rglob("*.partial"):  # what zarr was writing when it was killed
        if cut.is_file():
            remove(cut)
    with _quietly():
        zarr.consolidate_metadata(zarr.storage.LocalStore(path))
    for file in path.rglob("*"):
        flush(file)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence remarks on parts of zarr v3 that its specification does not name yet."""
    with warnings.catch_warnings(), anndata_settings.override(auto_shard_zarr_v3=False):
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        warnings.filterwarnings("ignore", "The data type", UserWarning)
        yield
