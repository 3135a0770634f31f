"""A matrix with its rows in another order, made with bounded memory.

Two passes, each sequential: rows go to the bucket of the place they will have (a region of one
file, for its length is known); then each bucket, small enough for memory, is put in order and
written as a part. `scrcl.io.transpose` does the same with entries.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scrcl._atomic import atomic_folder
from scrcl.errors import InputError
from scrcl.io.identity import digest
from scrcl.io.parts import Parts, row_starts, write_index, write_part
from scrcl.io.store import survey
from scrcl.io.stored_dtype import exact_x
from scrcl.io.stream import iter_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da

    from scrcl.io.matrix import CellMatrix
    from scrcl.io.store import Survey
    from scrcl.typing import Csr, IntArray, OnRows

__all__ = ["SCRATCH_INDEX_BYTES", "in_order"]

SCRATCH_INDEX_BYTES = 4
"""Bytes of a column index in the copy; a value takes those of its dtype besides."""

# A bucket in memory: as it arrived, in order, and what the copy between them takes.
_COPIES = 3


def in_order(
    matrix: CellMatrix,
    order: IntArray,
    scratch_folder: Path,
    block_bytes: int,
    *,
    found: Survey | None = None,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> CellMatrix:
    """Return ``matrix`` with the rows ``order``; they are copied when they are first asked for.

    The copy stays in ``scratch_folder`` and is taken up again by the same matrix and order. It
    needs twice the bytes of the values (in their dtype) and int32 columns, half of them in the end.
    Peak memory is about ``block_bytes`` (or one row), the blocks read ahead, and 40 bytes a row.

    Parameters
    ----------
    order
        Row numbers, each at most once: a permutation of the rows, or of some of them.
    found
        `scrcl.io.store.survey` of the matrix, which is made (a further read) where None.

    Raises
    ------
    InputError
        ``order`` is empty, repeats a row, or names one that is not there.
    """
    order = _checked(order, matrix.n_obs)
    identity = {**matrix.identity, "order": digest({"rows": order.tobytes()})}
    folder = scratch_folder / f"ordered-{digest(identity)}"

    def rows(block_rows: int) -> da.Array:
        if not folder.exists():
            scratch_folder.mkdir(parents=True, exist_ok=True)
            x = exact_x(matrix, block_rows)
            _copy(
                lambda: iter_rows(x, n_ahead=n_workers),
                found or survey(x, n_workers=n_workers),
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
        dtype=found.dtype if found else matrix.dtype,
        layout="csr",
        nnz=found.in_order(order).n_values if found else None,
        chunk_rows=None,
        load_obs=lambda: matrix.obs.iloc[order],
        load_obsm=lambda: {key: array[order] for key, array in matrix.obsm.items()},
        identity=identity,
        rows=rows,
    )


def _checked(order: IntArray, n_obs: int) -> IntArray:
    order = np.asarray(order)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        msg = f"order must be a list of row numbers; got {order.dtype} of shape {order.shape}."
        raise InputError(msg)
    if order.min() < 0 or order.max() >= n_obs:
        wrong = order[(order < 0) | (order >= n_obs)][0]
        msg = f"order must name rows 0 to {n_obs - 1:,}; got {wrong:,}."
        raise InputError(msg)
    order = order.astype(np.int64)
    times = np.bincount(order, minlength=n_obs)
    if times.max() > 1:
        msg = f"order must name each row once; got row {int(times.argmax()):,} {times.max()} times."
        raise InputError(msg)
    return order


def _copy(
    blocks: Callable[[], Any],
    found: Survey,
    order: IntArray,
    folder: Path,
    *,
    n_vars: int,
    block_bytes: int,
    on_rows: OnRows | None,
) -> None:
    """Write the rows ``order`` as parts into ``folder``."""
    starts = found.in_order(order).indptr
    lengths = np.diff(found.indptr)
    n_values = max(block_bytes // (_COPIES * (SCRATCH_INDEX_BYTES + found.dtype.itemsize)), 1)
    buckets = _buckets(starts, n_values)
    with atomic_folder(folder) as partial:
        files = [partial / "columns.bin", partial / "values.bin"]
        dtypes = [np.dtype(np.int32), found.dtype]
        place = np.full(len(lengths), -1, dtype=np.int64)
        place[order] = np.arange(len(order))
        _scatter(blocks(), files, dtypes, place, buckets, starts, on_rows)
        with files[0].open("rb") as columns, files[1].open("rb") as values:
            for number, (first, stop) in enumerate(pairwise(buckets.tolist())):
                count = int(starts[stop] - starts[first])
                indices = np.fromfile(columns, dtype=dtypes[0], count=count)
                data = np.fromfile(values, dtype=dtypes[1], count=count)
                # Rows lie in a bucket in the order of the source.
                arrival = np.argsort(order[first:stop])
                rows = sparse.csr_matrix(
                    (data, indices, row_starts(lengths[order[first:stop][arrival]])),
                    shape=(stop - first, n_vars),
                )
                write_part(partial, number, rows[np.argsort(arrival)])
        for file in files:
            file.unlink()
        write_index(partial, np.diff(buckets).tolist(), n_vars)


def _buckets(starts: IntArray, n_values: int) -> IntArray:
    """Return the first row of each bucket of at most ``n_values`` (or one row), and the last's end."""
    buckets, n_rows = [0], len(starts) - 1
    while buckets[-1] < n_rows:
        limit = starts[buckets[-1]] + n_values
        fitting = int(np.searchsorted(starts, limit, side="right")) - 1
        buckets.append(min(max(fitting, buckets[-1] + 1), n_rows))
    return np.array(buckets)


def _scatter(
    blocks: Any,
    paths: list[Path],
    dtypes: list[np.dtype[Any]],
    place: IntArray,
    buckets: IntArray,
    starts: IntArray,
    on_rows: OnRows | None,
) -> None:
    """Append the rows of each block to the regions of their buckets, in the order they come."""
    next_value = starts[buckets[:-1]].copy()
    with paths[0].open("wb") as columns, paths[1].open("wb") as values:
        for start, block in blocks:
            to = place[start : start + block.shape[0]]
            kept = np.flatnonzero(to >= 0)
            bucket = np.searchsorted(buckets, to[kept], side="right") - 1
            by_bucket = np.argsort(bucket, kind="stable")
            rows: Csr = block[kept[by_bucket]]
            there, firsts = np.unique(bucket[by_bucket], return_index=True)
            borders = rows.indptr[np.append(firsts, len(kept))].tolist()
            for number, (first, stop) in zip(there.tolist(), pairwise(borders), strict=True):
                pieces = (rows.indices[first:stop], rows.data[first:stop])
                for file, piece, dtype in zip((columns, values), pieces, dtypes, strict=True):
                    file.seek(int(next_value[number]) * dtype.itemsize)
                    piece.astype(dtype, copy=False).tofile(file)
                next_value[number] += stop - first
            if on_rows is not None:
                on_rows(block.shape[0])
