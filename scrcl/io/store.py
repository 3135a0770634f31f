"""Write a matrix as the store that streams fastest: AnnData with CSR in sharded Zarr v3.

Writing takes two reads. The first (`survey_values`) finds the length of each row and the smallest dtype that
holds all values. The second streams the values into shards, in order. A shard is one file, written in
one piece. So the number of finished shards is enough to resume, and an interrupted conversion ends in the same bytes.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from anndata import settings as anndata_settings
from anndata.io import write_elem
from scipy import sparse
from zarr.codecs import ZstdCodec

from scrcl._atomic import flush, remove
from scrcl.errors import InputError
from scrcl.io.arrays import row_starts
from scrcl.io.coordinates import matched_coordinates
from scrcl.io.parts import column_dtype
from scrcl.io.results import storable
from scrcl.io.stream import Reading, iter_rows, reduce_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import dask.array as da

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr, IntArray, OnRows

__all__ = [
    "CHUNK_VALUES",
    "ORIGIN",
    "SHARD_VALUES",
    "Survey",
    "create_store",
    "fill_values",
    "finish_store",
    "survey_values",
]

ORIGIN = "scrcl_store"
"""Key of uns that says what a store was made of."""

CHUNK_VALUES = 1 << 17
"""Values in a compressed chunk. ``bench.storage`` compares sizes and codecs.

Chunks are compressed by zstd, whose frames carry a checksum. lz4 decodes faster (1.4 times as many cells a
second) but has no checksum, and an added crc32c does not help: zarrs reads parts of chunks, and does not verify
a chunk that it reads in part.
"""

SHARD_VALUES = 1 << 23
"""Values in a shard, which is one file: at most 64 MB of float32 and int32 before compression."""

_EXACT_IN_FLOAT32 = 1 << 24
"""Smaller whole numbers are exact in float32."""

_EMPTY = sparse.csr_matrix((0, 0), dtype=np.float32)
_COUNTS = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True)
class Survey:
    """Row lengths and dtype of a matrix, which must be known before it is written.

    Parameters
    ----------
    indptr
        Row pointers: int64, shape (n_obs + 1,).
    dtype
        The smallest dtype that holds every value exactly; see `survey_values`.
    """

    indptr: IntArray
    dtype: np.dtype[Any]

    @property
    def n_values(self) -> int:
        """Number of stored values."""
        return int(self.indptr[-1])

    def reordered(self, order: IntArray) -> Survey:
        """Return the survey of the rows ``order``."""
        return Survey(row_starts(np.diff(self.indptr)[order]), self.dtype)


@dataclass(frozen=True)
class _Values:
    """Row lengths of some blocks, and range and kind of their values.

    ``whole``: all are whole numbers. ``single``: float32 holds all exactly.
    """

    lengths: list[IntArray]
    smallest: float
    largest: float
    whole: bool
    single: bool


def survey_values(
    x: da.Array, *, column_major: bool = False, n_workers: int = 2, on_rows: OnRows | None = None
) -> Survey:
    """Return row pointers and value dtype of a matrix, from one read.

    Non-negative whole numbers become uint8, uint16 or uint32, depending on the largest. Other values become
    float32 if that is exact for all, else float64. Nothing is ever rounded.

    Parameters
    ----------
    x
        Row blocks from `scrcl.io.stored_dtype.exact_x`.
    column_major
        The source is column-major with a dtype wider than float32, and ``x`` is its row-major copy in float32.
        Then only whole numbers below 2^24 are accepted, because the copy may have rounded others.

    Raises
    ------
    InputError
        A value cannot be stored exactly.
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

    found = reduce_rows(x, _values_of, combine, Reading(n_workers, on_rows))
    if column_major and not (found.whole and _magnitude(found) < _EXACT_IN_FLOAT32):
        message = (
            "Values stored by genes (CSC) must be float32, or whole numbers below 16,777,216, to be copied "
            f"exactly; got others up to {found.largest:g}. Store X by cells (CSR), or as float32."
        )
        raise InputError(message)
    return Survey(row_starts(np.concatenate(found.lengths)), _value_dtype(found))


def _values_of(_: int, block: Csr) -> _Values:
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
        message = f"Whole numbers must not exceed 2^53; got {found.largest:g}. Check the input."
        raise InputError(message)
    return np.dtype(np.float64)


def create_store(path: Path, matrix: CellMatrix, survey: Survey, uns: dict[str, Any]) -> None:
    """Write a store without the values of X into a new folder ``path``.

    Columns of tables that AnnData cannot store become strings, as in `scrcl.io.results`.
    """
    obs = storable(matrix.obs)
    obsm = {
        key: values.set_axis(obs.index) if isinstance(values, pd.DataFrame) else values
        for key, values in matched_coordinates(matrix.obsm, label=matrix.label).items()
    }
    tables = AnnData(obs=obs, var=storable(matrix.var), obsm=obsm, uns=uns)
    remove(path)
    # Chunks of zeros are written too: a reader could not tell them from lost ones.
    with _quietly(), zarr.config.set({"array.write_empty_chunks": True}):
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
        _create_array(x, "data", survey.n_values, survey.dtype)
        _create_array(x, "indices", survey.n_values, np.dtype(column_dtype(matrix.n_vars)))
        indptr = _create_array(x, "indptr", len(survey.indptr), survey.indptr.dtype)
        for start in range(0, len(survey.indptr), SHARD_VALUES):
            indptr[start : start + SHARD_VALUES] = survey.indptr[start : start + SHARD_VALUES]


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
    """Stream the values of ``x`` into the store at ``path``, starting at value ``n_done``.

    Peak memory: a shard of data and indices, raw and compressed, and ``n_workers + 2`` blocks.

    Parameters
    ----------
    x
        The same row blocks that were surveyed.
    indptr
        Row pointers from the survey.
    n_done
        Number of values in finished shards. Files of later shards are removed.
    on_shard
        Called after each shard with the number of values on disk. A later call can start with it.

    Raises
    ------
    StoreError
        A block could not be read.
    """
    if n_done == indptr[-1]:
        return
    # By default zarr does not write chunks of zeros (columns of the first gene): they would look lost.
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(path / "X", mode="r+")
        arrays = [group["data"], group["indices"]]
    folders = [path / "X" / name / "c" for name in ("data", "indices")]
    _drop_unfinished(folders, n_done // SHARD_VALUES)
    ends = np.cumsum([0, *x.chunks[0]])
    # The block that holds value `n_done`: reading resumes there.
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
    """Yield values and columns of each block, in the dtypes of ``arrays``."""
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
    """Yield the values after the first ``skip`` as full shards and a rest.

    The arrays are reused: write them before the next step.
    """
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
    """Consolidate the metadata, so that the store opens quickly, and flush all files to the disk."""
    for cut in (path / "X").rglob("*.partial"):  # left behind if zarr was killed while writing
        if cut.is_file():
            remove(cut)
    with _quietly():
        zarr.consolidate_metadata(zarr.storage.LocalStore(path))
    for file in path.rglob("*"):
        flush(file)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings about features that the Zarr v3 specification does not cover yet."""
    with warnings.catch_warnings(), anndata_settings.override(auto_shard_zarr_v3=False):
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        warnings.filterwarnings("ignore", "The data type", UserWarning)
        yield
