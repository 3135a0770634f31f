"""The steps from an opened matrix to a finished store. Each resumes where it was interrupted."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl import __version__
from scrcl.engine.disk import require_room
from scrcl.io import store
from scrcl.io.parts import column_dtype
from scrcl.io.reorder import SCRATCH_INDEX_BYTES, reorder_rows
from scrcl.io.stored_dtype import exact_x

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl._progress import Reporter
    from scrcl.engine.convert_folder import WorkFolder
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["VERSION", "Conversion"]

VERSION = 1

# Disk of a row-major copy, for each value: sorted records and the parts made from them (`scrcl.io.transpose`).
_TRANSPOSE_BYTES = 20


@dataclass(frozen=True)
class Conversion:
    """One conversion; `run` skips the steps that are finished.

    Attributes
    ----------
    names
        Names of the inputs.
    rows
        Which rows, in which order; None for all as they are.
    """

    work: WorkFolder
    matrix: CellMatrix
    names: list[str]
    rows: IntArray | None
    block_bytes: int
    block_rows: int
    n_workers: int
    reporter: Reporter

    @property
    def store_path(self) -> Path:
        """The store, in the folder of unfinished work."""
        return self.work.path / "store"

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
            store.create_store(self.store_path, matrix, found, self._provenance())
            self.work.save(n_values=0)
        with self._stage("write"):
            store.fill_values(
                self.store_path,
                x,
                found.indptr,
                n_done=self.work.journal["n_values"],
                on_shard=lambda n_values: self._after_shard(n_values, found.n_values),
                n_workers=self.n_workers,
                on_rows=self.reporter.advance,
            )
        store.finish_store(self.store_path)
        self.work.save(record=_record(matrix, found))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self.reporter.stage_started(name, self.matrix.n_obs, "cells")
        yield
        self.reporter.stage_finished(name, time.perf_counter() - began, resumed=False)

    def _survey(self) -> store.Survey:
        """Return row lengths and dtype from a first read; both are kept for a resumed conversion."""
        file = self.work.path / "indptr.npy"
        if self.work.has_progress:
            return store.Survey(np.load(file), np.dtype(self.work.journal["dtype"]))
        matrix = self.matrix
        if matrix.layout == "csc" and "path" in matrix.identity:
            n_bytes = (matrix.nnz or 0) * _TRANSPOSE_BYTES
            require_room(self.work.out, n_bytes, "a row-major copy")
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
            require_room(self.work.out, 2 * n_bytes, "a sorted copy")
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
            matrix.rows(self.block_rows)  # copies the rows at the first call
            return matrix

    def _after_shard(self, n_values: int, n_total: int) -> None:
        """Save the progress; stop if the disk has no room for the rest."""
        self.work.save(n_values=n_values)
        written = sum(p.stat().st_size for p in (self.store_path / "X").rglob("*") if p.is_file())
        require_room(self.work.out, written * (n_total - n_values) // n_values, "the store")

    def _provenance(self) -> dict[str, Any]:
        """Return the origin of the store, for ``uns``."""
        identity = self.matrix.identity
        return {
            store.ORIGIN: {
                "version": VERSION,
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
