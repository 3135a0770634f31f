"""A folder with ``matrix.mtx`` as Cell Ranger writes it: entries as text, in any order.

The first line without comment gives the numbers of genes, cells and entries. Names are in the same folder, one
on each line, in ``features.tsv`` (or ``genes.tsv``) and ``barcodes.tsv``. Each file may be gzipped.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scrcl._warnings import logger_of
from scrcl.errors import InputError, StoreError
from scrcl.io.formats.text_lines import Header, entry_tables, name_table, open_bytes
from scrcl.io.identity import file_identity
from scrcl.io.matrix import CellMatrix
from scrcl.io.stream import damage_named
from scrcl.io.transpose import ENTRY, Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da
    import h5py

__all__ = ["open_matrix", "recognizes"]

_FIELDS = {"integer": "integer", "real": "real", "float": "real", "double": "real"}
"""Types of the values by the banner. STARsolo calls fractions float."""
_DTYPES: dict[str, np.dtype[Any]] = {"integer": np.dtype("int64"), "real": np.dtype("float32")}
"""Fractions are read as float32."""

_FEATURE_COLUMNS = (1, 2, 3, 6)
"""Six: with the position in the genome, as Cell Ranger ARC writes them."""

_log = logger_of(__name__)


def recognizes(path: Path, file: h5py.File | None) -> bool:  # noqa: ARG001
    """Return whether the path is a folder with ``matrix.mtx`` or ``matrix.mtx.gz``."""
    return any((path / name).is_file() for name in ("matrix.mtx", "matrix.mtx.gz"))


def open_matrix(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix of a folder with ``matrix.mtx``; see `scrcl.io.open.open_input`."""
    folder = path
    if layer is not None:
        message = f"layer must be left out for {folder.name}; got {layer!r}. An mtx has one matrix."
        raise InputError(message)
    text = _either(folder, "matrix.mtx")
    assert text is not None
    with damage_named(f"{folder} must be readable"):
        header = _read_header(text)
        features = _table(
            folder,
            "features.tsv",
            "genes.tsv",
            n_columns=_FEATURE_COLUMNS,
            what="one to three columns (id, name, type) or six",
        )
        barcodes = _table(folder, "barcodes.tsv", n_columns=(1,), what="one column")
    rows_are_cells = _rows_are_cells(header, len(features), len(barcodes), text)
    var = _genes(features)
    shape = (len(barcodes), len(features))
    identity = file_identity(text, shape=shape, layer=None)
    # Changed names make another input, even if the matrix is the same.
    tables = sorted(folder.glob("*.tsv*"))
    identity["names"] = [file_identity(table, shape=shape, layer=None) for table in tables]
    source = partial(_entries, text, header, rows_are_cells)

    def rows(block_rows: int) -> da.Array:
        return scratch.row_major(source, label=folder.name, identity=identity).x(block_rows)

    return CellMatrix(
        label=folder.name,
        n_obs=shape[0],
        n_vars=shape[1],
        dtype=_DTYPES[header.field],
        layout="csc",
        nnz=header.nnz,
        chunk_rows=None,
        var=var,
        load_obs=lambda: pd.DataFrame(index=barcodes[0].to_numpy()),
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
                f"real); got {' '.join(banner)[:80]!r}."
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
    message = f"{path} must give its size; got only comments."
    raise StoreError(message)


def _rows_are_cells(header: Header, n_genes: int, n_cells: int, path: Path) -> bool:
    """Return whether the rows of the text are cells. A square matrix is taken as 10x writes it: genes."""
    if header.shape == (n_genes, n_cells):
        if n_genes == n_cells:
            _log.warning(
                "%s has as many genes as cells (%s), so its size does not show which are its rows. They are taken as "
                "genes, as 10x writes them. If they are cells, write the matrix transposed.",
                path,
                f"{n_genes:,}",
            )
        return False
    if header.shape == (n_cells, n_genes):
        return True
    one_more = {(n_genes - 1, n_cells): "features", (n_genes, n_cells - 1): "barcodes"}
    hint = (
        f"Line 1 of the {one_more[header.shape]} file may be a header: remove it."
        if header.shape in one_more
        else "Use the three files of one matrix."
    )
    message = (
        f"{path} must have {n_genes:,} genes by {n_cells:,} cells, as in the .tsv files; got "
        f"{header.shape[0]:,} by {header.shape[1]:,}. {hint}"
    )
    raise StoreError(message)


def _genes(features: pd.DataFrame) -> pd.DataFrame:
    """Return ids and types of the genes, indexed by symbol (or by id if there is only one column)."""
    table = {"gene_ids": features[0].to_numpy()}
    if features.shape[1] > 2:
        table["feature_types"] = features[2].to_numpy()
    return pd.DataFrame(table, index=features[min(1, features.shape[1] - 1)].to_numpy())


def _table(folder: Path, *names: str, n_columns: tuple[int, ...], what: str) -> pd.DataFrame:
    path = _either(folder, *names)
    if path is not None:
        return name_table(path, n_columns=n_columns, what=what)
    message = f"{folder} must hold {' or '.join(names)} (or .gz) next to matrix.mtx; it does not."
    raise StoreError(message)


def _either(folder: Path, *names: str) -> Path | None:
    """Return the first of the files that is there, gzipped or not. A warning names the others."""
    found = [p for name in names for p in (folder / name, folder / f"{name}.gz") if p.is_file()]
    if len(found) > 1:
        others = ", ".join(path.name for path in found[1:])
        _log.warning("%s: %s is read, and %s is not", folder, found[0].name, others)
    return found[0] if found else None
