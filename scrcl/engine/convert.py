"""Any input as one store that streams fast: a resumable write of `scrcl.io.store`.

The unfinished store is written in a hidden folder, ``.<name>.converting`` (`scrcl.engine.convert_folder`), and renamed
to OUT when it is complete. After a kill or a full disk, the same call continues at the first missing shard.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrcl import __version__
from scrcl._progress import Silent
from scrcl._warnings import logger_of, warned_once
from scrcl.engine.arguments import checked
from scrcl.engine.convert_folder import WorkFolder
from scrcl.engine.convert_steps import VERSION, Conversion
from scrcl.engine.describe import note_on_join
from scrcl.engine.disk import naming_full_disk
from scrcl.engine.fingerprint import fingerprint_of_array
from scrcl.engine.paths import input_paths, keep_apart
from scrcl.engine.row_order import read_order
from scrcl.engine.shape import input_bytes
from scrcl.errors import InputError
from scrcl.io import store
from scrcl.io.identity import content_of
from scrcl.io.open import open_input
from scrcl.io.slots import keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl._progress import Reporter
    from scrcl.engine.paths import Inputs
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

_FILES = (".h5ad", ".h5", ".hdf5", ".h5mu", ".loom", ".zip")
"""Suffixes of files, which a folder must not have."""

__all__ = ["WrittenStore", "convert", "convert_matrix"]

_log = logger_of(__name__)

_BYTES_A_VALUE = 12


@dataclass(frozen=True)
class WrittenStore:
    """A store that `convert` or `scrcl.simulate` wrote.

    Attributes
    ----------
    stored_values
        Number of stored values of X.
    dtype, index_dtype
        Types of the values and of their column numbers.
    bytes_in, bytes_out
        Sizes of the inputs and of the store.
    seconds
        Time of this call.
    resumed
        Whether this call continued an interrupted one.
    """

    path: Path
    n_cells: int
    n_genes: int
    stored_values: int
    dtype: str
    index_dtype: str
    bytes_in: int
    bytes_out: int
    seconds: float
    resumed: bool


@checked
@warned_once()
def convert(
    inputs: Inputs,
    out: str | Path,
    *,
    layer: str | None = None,
    join: str = "inner",
    order: str | Path | IntArray | None = None,
    block_bytes: int = 32 << 20,
    n_workers: int = 2,
    reporter: Reporter | None = None,
) -> WrittenStore:
    """Write the inputs as one AnnData store in sharded Zarr v3.

    Values keep every bit; see `scrcl.io.store.survey_values` for their dtype.

    Parameters
    ----------
    inputs, layer
        A path or several, which are joined; and the layer to read instead of X.
    out
        Folder to create.
    join
        Genes of several inputs: ``"inner"`` keeps those in all of them, ``"outer"`` those in any.
    order
        Which rows, in which order: row numbers or names of cells, as an array, ``.npy`` or text file; the folder of
        a run, whose order stores near cells together; or a column of obs to sort by (equal rows keep their order;
        missing values come last).
    block_bytes
        Approximate size of a block of rows in memory; peak memory is about ten such blocks.
    n_workers
        Blocks that are read at the same time.
    reporter
        Receives the progress.

    Returns
    -------
    WrittenStore
        Sizes of the store and the time taken.

    Raises
    ------
    InputError
        A setting or a value in the input breaks a rule.
    StoreError
        ``out`` exists, an input is damaged, or the disk is too small.
    ResumeError
        Another process writes the same ``out``.
    """
    out, paths, reporter = Path(out), input_paths(inputs), reporter or Silent()
    if out.suffix in _FILES:
        message = f"OUT must be a folder, which is written as Zarr; got {out}. Name it {out.with_suffix('.zarr').name}."
        raise InputError(message)
    matrix = open_input(
        paths,
        layer=layer,
        join=join,
        scratch=WorkFolder(out).path / "scratch",
        block_bytes=block_bytes,
    )
    keep_apart(matrix.identity, out)
    _warn_of_lost(matrix, layer)
    return convert_matrix(
        matrix,
        out,
        sources=[path.name for path in paths],
        order=read_order(order, matrix, reporter),
        block_bytes=block_bytes,
        n_workers=n_workers,
        reporter=reporter,
    )


def _warn_of_lost(matrix: CellMatrix, layer: str | None) -> None:
    """Warn of what the inputs hold besides what a store has: one matrix, obs, var and coordinates."""
    lost = [] if layer is None else ["X"]
    lost += [name if name == "raw" else f"layers/{name}" for name in matrix.layers if name != layer]
    for open_source in matrix.sources:
        with open_source() as source:
            for slot in ("obsm", "varm", "obsp", "varp", "uns"):
                kept = matrix.obsm if slot == "obsm" else (store.ORIGIN,)
                lost += [f"{slot}/{key}" for key in keys_of(source, slot) if key not in kept]
    if lost:
        _log.warning(
            "%s: a store holds one matrix, obs, var and coordinates. Not written: %s",
            matrix.label,
            ", ".join(dict.fromkeys(lost)),
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
) -> WrittenStore:
    """Write one matrix as `convert` does.

    Parameters
    ----------
    sources
        Names of the inputs, kept in ``uns``.
    block_rows
        Rows of a block; by default as many as take ``block_bytes``.
    """
    began = time.perf_counter()
    reporter = reporter or Silent()
    work = WorkFolder(out)
    note = note_on_join(matrix)
    if note is not None:
        reporter.note(note)
    with work.claimed(_settings(matrix, order), reporter), naming_full_disk(out):
        resumed = work.has_progress
        if not work.is_moved:
            conversion = Conversion(
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
        return WrittenStore(
            path=out,
            **work.journal["record"],
            bytes_in=input_bytes(matrix.identity),
            bytes_out=sum(p.stat().st_size for p in out.rglob("*") if p.is_file()),
            seconds=round(time.perf_counter() - began, 3),
            resumed=resumed,
        )


def _settings(matrix: CellMatrix, rows: IntArray | None) -> dict[str, Any]:
    """Return everything that the bytes of the store depend on."""
    return {
        "version": [VERSION, __version__, store.CHUNK_VALUES, store.SHARD_VALUES],
        "input": content_of(matrix.identity),
        "order": None if rows is None else fingerprint_of_array(rows),
    }


def _block_rows(matrix: CellMatrix, block_bytes: int) -> int:
    """Return the number of rows that take about ``block_bytes`` while they are read and made CSR."""
    dense = matrix.n_vars * matrix.dtype.itemsize
    row = dense if matrix.nnz is None else matrix.nnz * _BYTES_A_VALUE // matrix.n_obs
    return max(block_bytes // max(row, 1), 1)
