"""Any input as one store that streams fast: `scrcl.io.store`, with what surrounds a long write.

Work goes on in a hidden folder beside OUT, ``.<name>.converting``: the store so far, copies of
inputs that are not in order, and a journal. The store takes the name OUT when it is whole. After
a kill or a full disk, the same call goes on at the first shard that is missing.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scrcl import __version__
from scrcl._progress import Silent
from scrcl.engine.convert_folder import Work
from scrcl.engine.describe import joined
from scrcl.engine.disk import naming_full_disk, require_room
from scrcl.engine.run_folder import fingerprint_of_array, keep_apart
from scrcl.errors import InputError
from scrcl.io import store
from scrcl.io.open import open_input
from scrcl.io.parts import column_dtype
from scrcl.io.reorder import SCRATCH_INDEX_BYTES, reorder_rows
from scrcl.io.stored_dtype import exact_x

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl._progress import Reporter
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["convert", "convert_matrix", "read_order"]

_VERSION = 1
# Entries of a copy by rows: sorted records and the parts made of them (`scrcl.io.transpose`).
_BY_GENES_BYTES = 20
_BYTES_A_VALUE = 12


def convert(
    inputs: Sequence[Path],
    out: Path,
    *,
    layer: str | None = None,
    join: str = "inner",
    order: str | Path | IntArray | None = None,
    block_bytes: int = 32 << 20,
    n_workers: int = 2,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write the inputs as one AnnData store in sharded Zarr v3, and return what it took.

    Values keep to the last bit; see `scrcl.io.store.survey_values` for their dtype.

    Parameters
    ----------
    inputs, layer
        As for `scrcl.io.open.open_input`; several are joined.
    out
        Folder to make.
    join
        Genes that several inputs keep: see `scrcl.io.join.join_samples`.
    order
        Order of the rows: an array of row numbers (some or all), an ``.npy`` or a text of them, or
        a column of obs to sort by (rows that are equal stay in order; missing values come last).
    block_bytes
        Rows in memory as one block, roughly; peak memory is some ten such blocks.

    Returns
    -------
    dict
        ``n_cells``, ``n_genes``, ``stored_values``, ``dtype``, ``index_dtype``, ``bytes_in``,
        ``bytes_out``, ``seconds`` (of this call) and ``resumed``.

    Raises
    ------
    InputError
        An option or a value in the input breaks a rule.
    StoreError
        ``out`` is there, an input is damaged, or the disk is too small.
    ResumeError
        Another process writes the same ``out``.
    """
    matrix = open_input(
        inputs, layer=layer, join=join, scratch=Work(out).path / "scratch", block_bytes=block_bytes
    )
    keep_apart(matrix.identity, out)
    return convert_matrix(
        matrix,
        out,
        sources=[Path(path).name for path in inputs],
        order=read_order(order, matrix),
        block_bytes=block_bytes,
        n_workers=n_workers,
        reporter=reporter,
    )


def convert_matrix(
    matrix: CellMatrix,
    out: Path,
    *,
    sources: Sequence[str],
    order: IntArray | None = None,
    block_bytes: int = 32 << 20,
    block_rows: int | None = None,
    n_workers: int = 2,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write one matrix as `convert` does.

    Parameters
    ----------
    sources
        What ``uns`` says of where the matrix is from.
    block_rows
        Rows of a block; by default those that take ``block_bytes``.
    """
    began = time.perf_counter()
    reporter = reporter or Silent()
    work = Work(out)
    note = joined(matrix)
    if note is not None:
        reporter.note(note)
    with work.claimed(_settings(matrix, order), reporter), naming_full_disk(out):
        resumed = work.has_progress
        if not work.is_moved:
            conversion = _Conversion(
                work,
                matrix,
                list(sources),
                order,
                block_bytes,
                block_rows or _block_rows(matrix, block_bytes),
                n_workers,
                reporter,
            )
            conversion.run()
            work.move()
        return {
            **work.journal["record"],
            "bytes_in": _bytes_of(matrix.identity),
            "bytes_out": sum(p.stat().st_size for p in out.rglob("*") if p.is_file()),
            "seconds": round(time.perf_counter() - began, 3),
            "resumed": resumed,
        }


def read_order(order: str | Path | IntArray | None, matrix: CellMatrix) -> IntArray | None:
    """Return row numbers from an array, a file of them, or a column of obs to sort by.

    Raises
    ------
    InputError
        It is neither, or the file holds something else.
    """
    if order is None or isinstance(order, np.ndarray):
        return order
    if str(order) in matrix.obs:
        codes, _ = pd.factorize(matrix.obs[str(order)], sort=True)
        last = np.where(codes < 0, len(codes), codes)
        return np.argsort(last, kind="stable")
    path = Path(order)
    if not path.is_file():
        columns = ", ".join(map(str, matrix.obs.columns)) or "no columns"
        msg = f"order must be a file of row numbers or a column of obs; got {order}. obs has {columns}."
        raise InputError(msg)
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path))
        return np.array(path.read_text("utf-8").split()).astype(np.int64)
    except (OSError, EOFError, OverflowError, ValueError) as error:
        msg = f"order must be a file of row numbers, one a line, or .npy; got {path}: {error}."
        raise InputError(msg) from error


def _settings(matrix: CellMatrix, rows: IntArray | None) -> dict[str, Any]:
    """Return all that decides the bytes of the store."""
    return {
        "version": [_VERSION, __version__, store.CHUNK_VALUES, store.SHARD_VALUES],
        "input": matrix.identity,
        "order": None if rows is None else fingerprint_of_array(rows),
    }


class _Conversion:
    """The steps from an opened matrix to a finished store; each is skipped where it is done."""

    def __init__(
        self,
        work: Work,
        matrix: CellMatrix,
        names: list[str],
        rows: IntArray | None,
        block_bytes: int,
        block_rows: int,
        n_workers: int,
        reporter: Reporter,
    ) -> None:
        self.work = work
        self.matrix = matrix
        self.names = names
        self.rows = rows
        self.block_bytes = block_bytes
        self.block_rows = block_rows
        self.n_workers = n_workers
        self.reporter = reporter
        self.store = work.path / "store"

    def run(self) -> None:
        """Survey, reorder, write and finish."""
        with self._stage("survey"):
            found = self._survey()
        matrix = self.matrix
        if self.rows is not None:
            matrix = self._in_order(self.rows, found)
            found = found.reordered(self.rows)
        x = exact_x(matrix, self.block_rows)
        if "n_values" not in self.work.journal:
            store.create_store(self.store, matrix, found, self._provenance())
            self.work.save(n_values=0)
        with self._stage("write"):
            store.fill_values(
                self.store,
                x,
                found.indptr,
                n_done=self.work.journal["n_values"],
                on_shard=lambda n_values: self._after_shard(n_values, found.n_values),
                n_workers=self.n_workers,
                on_rows=self.reporter.advance,
            )
        store.finish_store(self.store)
        self.work.save(record=_record(matrix, found))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self.reporter.stage_started(name, self.matrix.n_obs, "cells")
        yield
        self.reporter.stage_finished(name, time.perf_counter() - began, resumed=False)

    def _survey(self) -> store.Survey:
        """Return what the first read says, which is kept for a resumed conversion."""
        file = self.work.path / "indptr.npy"
        if self.work.has_progress:
            return store.Survey(np.load(file), np.dtype(self.work.journal["dtype"]))
        matrix = self.matrix
        if matrix.layout == "csc" and "path" in matrix.identity:
            n_bytes = (matrix.nnz or 0) * _BY_GENES_BYTES
            require_room(self.work.out, n_bytes, "a copy by cells")
        found = store.survey_values(
            exact_x(matrix, self.block_rows),
            column_major=matrix.layout == "csc" and not np.can_cast(matrix.dtype, np.float32),
            n_workers=self.n_workers,
            on_rows=self.reporter.advance,
        )
        np.save(file, found.indptr)
        self.work.save(dtype=found.dtype.name)
        return found

    def _in_order(self, rows: IntArray, found: store.Survey) -> CellMatrix:
        if "n_values" not in self.work.journal:
            n_bytes = found.n_values * (SCRATCH_INDEX_BYTES + found.dtype.itemsize)
            require_room(self.work.out, 2 * n_bytes, "a copy in order")
        with self._stage("order"):
            matrix = reorder_rows(
                self.matrix,
                rows,
                self.work.path / "scratch",
                self.block_bytes,
                survey=found,
                n_workers=self.n_workers,
                on_rows=self.reporter.advance,
            )
            matrix.rows(self.block_rows)  # the first look copies
            return matrix

    def _after_shard(self, n_values: int, n_total: int) -> None:
        """Keep the progress; refuse to go on where the disk will not hold the rest."""
        self.work.save(n_values=n_values)
        written = sum(p.stat().st_size for p in (self.store / "X").rglob("*") if p.is_file())
        require_room(self.work.out, written * (n_total - n_values) // n_values, "the store")

    def _provenance(self) -> dict[str, Any]:
        """Return what ``uns`` says of where the store comes from."""
        identity = self.matrix.identity
        return {
            "scrcl_store": {
                "version": _VERSION,
                "scrcl": __version__,
                "sources": np.array(self.names, dtype=object),
                "join": identity.get("join", "inner") if "samples" in identity else "none",
            }
        }


def _record(matrix: CellMatrix, found: store.Survey) -> dict[str, Any]:
    return {
        "n_cells": matrix.n_obs,
        "n_genes": matrix.n_vars,
        "stored_values": found.n_values,
        "dtype": found.dtype.name,
        "index_dtype": np.dtype(column_dtype(matrix.n_vars)).name,
    }


def _block_rows(matrix: CellMatrix, block_bytes: int) -> int:
    """Return rows of which a block takes about ``block_bytes`` while it is read and made CSR."""
    dense = matrix.n_vars * matrix.dtype.itemsize
    row = dense if matrix.nnz is None else matrix.nnz * _BYTES_A_VALUE // matrix.n_obs
    return max(block_bytes // max(row, 1), 1)


def _bytes_of(identity: dict[str, Any]) -> int:
    return sum(int(sample.get("bytes", 0)) for sample in identity.get("samples", [identity]))
