"""Copy a matrix with its rows in another order, within bounded memory.

Two sequential passes. The first writes each row to the bucket that holds its new position. All buckets share
one file, in which their regions are known because the length of each row is. The second pass reads one bucket
after another (each fits into memory), sorts its rows and writes them as a part. `scrcl.io.transpose` does the
same with single entries.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scrcl._atomic import atomic_folder
from scrcl.errors import InputError
from scrcl.io.arrays import row_starts
from scrcl.io.coordinates import Coordinates, take_rows
from scrcl.io.identity import digest
from scrcl.io.parts import Parts, row_groups, write_index, write_part
from scrcl.io.store import survey_values
from scrcl.io.stored_dtype import exact_x
from scrcl.io.stream import iter_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da

    from scrcl.io.matrix import CellMatrix
    from scrcl.io.store import Survey
    from scrcl.typing import Csr, IntArray, OnRows

__all__ = ["SCRATCH_INDEX_BYTES", "checked_order", "reorder_rows"]

SCRATCH_INDEX_BYTES = 4
"""Bytes of a column index in the copy. Each value takes the size of its dtype in addition."""

_COPIES = 3
"""Copies of a bucket in memory: as it was read, sorted, and temporary arrays of the sort."""


def reorder_rows(
    matrix: CellMatrix,
    order: IntArray,
    scratch_folder: Path,
    block_bytes: int,
    *,
    survey: Survey | None = None,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> CellMatrix:
    """Return ``matrix`` with the rows ``order``. They are copied when blocks are first requested.

    The copy stays in ``scratch_folder`` and is used again for the same matrix and order. On disk it first needs
    twice the size of values (in their dtype) and int32 columns, later once. Peak memory is about
    ``block_bytes`` (or one row), the blocks read ahead, and 40 bytes for each row.

    Parameters
    ----------
    order
        Row numbers without duplicates: a permutation of all rows, or of some.
    survey
        Result of `scrcl.io.store.survey_values` for the matrix. If None, a further read computes it.

    Raises
    ------
    InputError
        ``order`` is empty, repeats a row, or has a row number that does not exist.
    """
    order = checked_order(order, matrix.n_obs)
    identity = {**matrix.identity, "order": digest({"rows": order.tobytes()})}
    folder = scratch_folder / f"ordered-{digest(identity)}"

    def rows(block_rows: int) -> da.Array:
        if not folder.exists():
            scratch_folder.mkdir(parents=True, exist_ok=True)
            x = exact_x(matrix, block_rows)
            _copy(
                lambda: iter_rows(x, n_ahead=n_workers),
                survey or survey_values(x, n_workers=n_workers),
                order,
                folder,
                n_vars=matrix.n_vars,
                block_bytes=block_bytes,
                on_rows=on_rows,
            )
        return Parts(folder).x(block_rows)

    return replace(
        matrix,
        label=f"{matrix.label} in order",
        n_obs=len(order),
        dtype=survey.dtype if survey else matrix.dtype,
        layout="csr",
        nnz=survey.reordered(order).n_values if survey else None,
        chunk_rows=None,
        load_obs=lambda: matrix.obs.iloc[order],
        load_obsm=lambda: Coordinates(
            list(matrix.obsm), lambda key: take_rows(matrix.obsm[key], order)
        ),
        identity=identity,
        rows=rows,
    )


def checked_order(order: IntArray, n_obs: int) -> IntArray:
    """Return row numbers as int64. Raises InputError as `reorder_rows` does."""
    order = np.asarray(order)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        message = f"order must be a list of row numbers; got {order.dtype} of shape {order.shape}."
        raise InputError(message)
    if order.min() < 0 or order.max() >= n_obs:
        wrong = order[(order < 0) | (order >= n_obs)][0]
        message = f"order must contain only rows 0 to {n_obs - 1:,}; got {wrong:,}."
        raise InputError(message)
    order = order.astype(np.int64)
    times = np.bincount(order, minlength=n_obs)
    if times.max() > 1:
        row = int(times.argmax())
        message = f"order must contain each row once; got row {row:,} {times.max()} times."
        raise InputError(message)
    return order


def _copy(
    blocks: Callable[[], Any],
    survey: Survey,
    order: IntArray,
    folder: Path,
    *,
    n_vars: int,
    block_bytes: int,
    on_rows: OnRows | None,
) -> None:
    """Write the rows ``order`` as parts into ``folder``."""
    starts = survey.reordered(order).indptr
    lengths = np.diff(survey.indptr)
    n_values = max(block_bytes // (_COPIES * (SCRATCH_INDEX_BYTES + survey.dtype.itemsize)), 1)
    buckets = row_groups(starts, n_values)
    with atomic_folder(folder) as partial:
        files = [partial / "columns.bin", partial / "values.bin"]
        dtypes = [np.dtype(np.int32), survey.dtype]
        new_row = np.full(len(lengths), -1, dtype=np.int64)
        new_row[order] = np.arange(len(order))
        _scatter(blocks(), files, dtypes, new_row, buckets, starts, on_rows)
        with files[0].open("rb") as columns, files[1].open("rb") as values:
            for number, (first, stop) in enumerate(pairwise(buckets.tolist())):
                count = int(starts[stop] - starts[first])
                indices = np.fromfile(columns, dtype=dtypes[0], count=count)
                data = np.fromfile(values, dtype=dtypes[1], count=count)
                # Within a bucket, rows are in the order of the source: sorted by their old row number.
                arrival = np.argsort(order[first:stop])
                rows = sparse.csr_matrix(
                    (data, indices, row_starts(lengths[order[first:stop][arrival]])),
                    shape=(stop - first, n_vars),
                )
                write_part(partial, number, rows[np.argsort(arrival)])
        for file in files:
            file.unlink()
        write_index(partial, np.diff(buckets).tolist(), n_vars)


def _scatter(
    blocks: Any,
    paths: list[Path],
    dtypes: list[np.dtype[Any]],
    new_row: IntArray,
    buckets: IntArray,
    starts: IntArray,
    on_rows: OnRows | None,
) -> None:
    """Append the rows of each block to the regions of their buckets, in the order of the blocks.

    Parameters
    ----------
    paths, dtypes
        Files of columns and values, and what they hold.
    new_row
        New position of each row, -1 for rows to drop.
    buckets
        First new row of each bucket, and the number of rows.
    starts
        Row pointers of the new order: position of each new row's first value in the files.
    """
    next_value = starts[buckets[:-1]].copy()
    with paths[0].open("wb") as columns, paths[1].open("wb") as values:
        for start, block in blocks:
            targets = new_row[start : start + block.shape[0]]
            wanted = np.flatnonzero(targets >= 0)
            bucket = np.searchsorted(buckets, targets[wanted], side="right") - 1
            # Stable, so the rows of a bucket keep the order of the source.
            by_bucket = np.argsort(bucket, kind="stable")
            rows: Csr = block[wanted[by_bucket]]
            present, firsts = np.unique(bucket[by_bucket], return_index=True)
            borders = rows.indptr[np.append(firsts, len(wanted))].tolist()
            for number, (first, stop) in zip(present.tolist(), pairwise(borders), strict=True):
                pieces = (rows.indices[first:stop], rows.data[first:stop])
                for file, piece, dtype in zip((columns, values), pieces, dtypes, strict=True):
                    file.seek(int(next_value[number]) * dtype.itemsize)
                    piece.astype(dtype, copy=False).tofile(file)
                next_value[number] += stop - first
            if on_rows is not None:
                on_rows(block.shape[0])
