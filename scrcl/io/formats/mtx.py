"""A folder with ``matrix.mtx`` as Cell Ranger writes it, or as other programs do: entries as text, in any order.

The first line without comment gives the numbers of genes, cells and entries. Names of genes and cells are in the same
folder, one on each line, in files that `mtx_files` finds. Tables of names in CSV have a line with their columns.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._warnings import logger_of
from scrcl.errors import InputError, StoreError
from scrcl.io.formats.mtx_files import files_of, matrices_in
from scrcl.io.formats.mtx_names import cells_of, genes_of
from scrcl.io.formats.text_lines import Header, entry_tables, open_bytes
from scrcl.io.identity import file_identity
from scrcl.io.matrix import CellMatrix
from scrcl.io.stream import damage_named
from scrcl.io.transpose import ENTRY, Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da
    import h5py

    from scrcl.io.formats.mtx_files import MtxFiles

__all__ = ["open_matrix", "recognizes"]

_FIELDS = {"integer": "integer", "real": "real", "float": "real", "double": "real"}
"""Types of the values by the banner. STARsolo calls fractions float."""
_DTYPES: dict[str, np.dtype[Any]] = {"integer": np.dtype("int64"), "real": np.dtype("float32")}
"""Fractions are read as float32."""

_log = logger_of(__name__)


def recognizes(path: Path, file: h5py.File | None) -> bool:  # noqa: ARG001
    """Return whether the path is an mtx, gzipped or not, or a folder with ``matrix.mtx`` or with a single mtx."""
    if path.is_dir():
        return len(matrices_in(path)) == 1
    return path.name.endswith((".mtx", ".mtx.gz"))


def open_matrix(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix of a folder with ``matrix.mtx``; see `scrcl.io.open.open_input`."""
    if layer is not None:
        message = f"layer must be left out for {path.name}; got {layer!r}. An mtx has one matrix."
        raise InputError(message)
    with damage_named(f"{path} must be readable"):
        files = files_of(path)
        header = _read_header(files.matrix)
        var, obs = genes_of(files), cells_of(files)
    rows_are_cells = _rows_are_cells(header, len(var), len(obs), files)
    text, shape = files.matrix, (len(obs), len(var))
    identity = file_identity(text, shape=shape, layer=None)
    # Changed names make another input, even if the matrix is the same.
    tables = sorted(each for each in (files.genes, files.cells, files.symbols) if each)
    identity["names"] = [file_identity(table, shape=shape, layer=None) for table in tables]
    source = partial(_entries, text, header, rows_are_cells)

    def rows(block_rows: int) -> da.Array:
        return scratch.row_major(source, label=path.name, identity=identity).x(block_rows)

    return CellMatrix(
        label=path.name,
        n_obs=shape[0],
        n_vars=shape[1],
        dtype=_DTYPES[header.field],
        layout="csc",
        nnz=header.nnz,
        chunk_rows=None,
        var=var,
        load_obs=obs.copy,
        load_obsm=dict,
        identity=identity,
        rows=rows,
    )


@dataclass(frozen=True)
class _TextEntries:
    """Entries of an mtx text, whose rows are genes (as 10x writes it) or cells."""

    path: Path
    header: Header
    rows_are_cells: bool
    shape: tuple[int, int]

    def chunks(self, n_entries: int) -> Iterator[np.ndarray]:
        """Yield the entries in the order of the text."""
        # The text calls its own axes row and column; an entry has the cell as its row.
        first, second = ("row", "column") if self.rows_are_cells else ("column", "row")
        n_read = 0
        for table in entry_tables(self.path, n_entries, header=self.header):
            entries = np.empty(len(table), dtype=ENTRY)
            entries["row"], entries["column"] = table[first] - 1, table[second] - 1
            entries["value"] = table["value"]
            n_read += len(entries)
            yield entries
        if n_read != self.header.nnz:
            message = (
                f"{self.path} must hold the {self.header.nnz:,} entries of its header; got {n_read:,}. Copy or "
                "download it again."
            )
            raise StoreError(message)


@contextmanager
def _entries(path: Path, header: Header, rows_are_cells: bool) -> Iterator[_TextEntries]:
    n_obs, n_vars = header.shape if rows_are_cells else header.shape[::-1]
    yield _TextEntries(path, header, rows_are_cells, (n_obs, n_vars))


def _read_header(path: Path) -> Header:
    """Read the banner, the comments and the line with the sizes."""
    with open_bytes(path) as lines:
        banner = lines.readline().decode(errors="replace").lower().split()
        good = len(banner) == 5 and banner[:3] == ["%%matrixmarket", "matrix", "coordinate"]
        if not good or banner[3] not in _FIELDS or banner[4] != "general":
            message = (
                f"{path} must begin with '%%MatrixMarket matrix coordinate integer general' (or "
                f"real); got {' '.join(banner)[:80]!r}. Write the file again in this form."
            )
            raise StoreError(message)
        for number, line in enumerate(lines, start=2):
            if line.strip() and not line.startswith(b"%"):
                sizes = line.split()
                if len(sizes) != 3 or not all(size.isdigit() and len(size) < 19 for size in sizes):
                    message = (
                        f"{path} must give its rows, columns and entries in the first line without %; got "
                        f"{line[:60].decode(errors='replace').strip()!r} in line {number}. Write the file again."
                    )
                    raise StoreError(message)
                n_rows, n_columns, nnz = map(int, sizes)
                return Header(_FIELDS[banner[3]], (n_rows, n_columns), nnz, number)
    message = f"{path} must give its size; got only comments. Copy or download it again."
    raise StoreError(message)


def _rows_are_cells(header: Header, n_genes: int, n_cells: int, files: MtxFiles) -> bool:
    """Return whether the rows of the text are cells. A square matrix is taken as its program writes it."""
    if header.shape == (n_genes, n_cells):
        if n_genes == n_cells and not files.rows_are_cells:
            _log.warning(
                "%s has as many genes as cells (%s), so its size does not show which are its rows. They are taken as "
                "genes, as 10x writes them. If they are cells, write the matrix transposed.",
                files.matrix,
                f"{n_genes:,}",
            )
        return n_genes == n_cells and files.rows_are_cells
    if header.shape == (n_cells, n_genes):
        return True
    one_more = {
        (n_genes - 1, n_cells): files.genes,
        (n_cells, n_genes - 1): files.genes,
        (n_genes, n_cells - 1): files.cells,
        (n_cells - 1, n_genes): files.cells,
    }
    hint = (
        f"Line 1 of {one_more[header.shape].name} may be a header: remove it."
        if header.shape in one_more
        else "Use the three files of one matrix."
    )
    message = (
        f"{files.matrix} must have {n_genes:,} genes by {n_cells:,} cells, as {files.genes.name} and "
        f"{files.cells.name}; got {header.shape[0]:,} by {header.shape[1]:,}. {hint}"
    )
    raise StoreError(message)
