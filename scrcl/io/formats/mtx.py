"""A folder with ``matrix.mtx``, as Cell Ranger writes it: entries as text, in any order.

The first line that is no comment gives genes, cells and entries; the names lie beside, one a line,
in ``features.tsv`` (or ``genes.tsv``) and ``barcodes.tsv``. Each file may be gzipped.
"""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd

from scrcl.errors import InputError, StoreError
from scrcl.io.formats.tenx import expression_columns
from scrcl.io.identity import file_identity
from scrcl.io.matrix import CellMatrix, with_columns
from scrcl.io.transpose import ENTRY, Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da

__all__ = ["matrix_file", "open_mtx"]

_DTYPES = {"integer": np.dtype("int64"), "real": np.dtype("float64")}


def matrix_file(folder: Path) -> Path | None:
    """Return the matrix in ``folder``; None where there is none."""
    return _either(folder, "matrix.mtx")


def open_mtx(folder: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix of a folder with ``matrix.mtx``; see `scrcl.io.open.open_input`."""
    if layer is not None:
        msg = f"layer must be left out for {folder.name}; got {layer!r}. An mtx has one matrix."
        raise InputError(msg)
    path = matrix_file(folder)
    assert path is not None
    try:
        header = _read_header(path)
        features = _table(folder, "features.tsv", "genes.tsv")
        barcodes = _table(folder, "barcodes.tsv")
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        msg = f"{folder} must be readable; got {error}. Copy or download it again."
        raise StoreError(msg) from error
    by_cells = _is_by_cells(header, len(features), len(barcodes), path)
    var = _genes(features)
    columns = expression_columns(var, label=folder.name)
    shape = (len(barcodes), len(columns))
    beside = [p.name for p in sorted(folder.glob("*.tsv*"))]
    identity = file_identity(path, shape=shape, layer=None)
    identity["names"] = [file_identity(folder / name, shape=shape, layer=None) for name in beside]
    source = partial(_entries, path, header, by_cells)

    def rows(block_rows: int) -> da.Array:
        x = scratch.row_major(source, label=folder.name, identity=identity).x(block_rows)
        return with_columns(x, columns)

    return CellMatrix(
        label=folder.name,
        n_obs=shape[0],
        n_vars=shape[1],
        dtype=_DTYPES[header.field],
        layout="csc",
        nnz=header.nnz,
        chunk_rows=None,
        var=var.iloc[columns],
        load_obs=lambda: pd.DataFrame(index=barcodes[0].to_numpy()),
        load_obsm=dict,
        identity=identity,
        rows=rows,
    )


@dataclass(frozen=True)
class _Header:
    """What precedes the entries: their type and number, the shape, the lines to skip."""

    field: str
    shape: tuple[int, int]
    nnz: int
    n_lines: int


@dataclass(frozen=True)
class _TextEntries:
    """Entries of an open mtx text; ``by_cells`` where its rows are cells, not genes."""

    path: Path
    header: _Header
    by_cells: bool
    shape: tuple[int, int]

    def chunks(self, n_entries: int) -> Iterator[np.ndarray]:
        """Yield the entries in the order of the text."""
        first, second = ("row", "column") if self.by_cells else ("column", "row")
        n_read = 0
        for table in self._tables([first, second], n_entries) if self.header.nnz else ():
            entries = np.empty(len(table), dtype=ENTRY)
            entries["row"], entries["column"] = table["row"] - 1, table["column"] - 1
            entries["value"] = table["value"]
            self._check(entries)
            n_read += len(entries)
            yield entries
        if n_read != self.header.nnz:
            msg = (
                f"{self.path} must hold the {self.header.nnz:,} entries that its header gives; got "
                f"{n_read:,}. Copy or download it again."
            )
            raise StoreError(msg)

    def _tables(self, places: list[str], n_rows: int) -> Iterator[pd.DataFrame]:
        """Yield the lines of the text, parsed, a bounded number at a time."""
        with pd.read_csv(
            self.path,
            sep=r"\s+",
            header=None,
            names=[*places, "value"],
            dtype=dict.fromkeys(places, np.int32) | {"value": np.float32},
            skiprows=self.header.n_lines,
            chunksize=n_rows,
        ) as reader:
            yield from reader

    def _check(self, entries: np.ndarray) -> None:
        for name, size in zip(("row", "column"), self.shape, strict=True):
            if entries[name].min() < 0 or entries[name].max() >= size:
                msg = f"{self.path} must keep to its shape; got a {name} outside {size:,}."
                raise StoreError(msg)


@contextmanager
def _entries(path: Path, header: _Header, by_cells: bool) -> Iterator[_TextEntries]:
    n_obs, n_vars = header.shape if by_cells else header.shape[::-1]
    yield _TextEntries(path, header, by_cells, (n_obs, n_vars))


def _read_header(path: Path) -> _Header:
    """Read the banner, the comments and the size line."""
    with _open_text(path) as lines:
        banner = lines.readline().lower().split()
        good = len(banner) == 5 and banner[:3] == ["%%matrixmarket", "matrix", "coordinate"]
        if not good or banner[3] not in _DTYPES or banner[4] != "general":
            msg = (
                f"{path} must begin with '%%MatrixMarket matrix coordinate integer general' (or "
                f"real); got {' '.join(banner)!r}."
            )
            raise StoreError(msg)
        for number, line in enumerate(lines, start=2):
            if line.strip() and not line.startswith("%"):
                n_rows, n_columns, nnz = map(int, line.split())
                return _Header(banner[3], (n_rows, n_columns), nnz, number)
    raise StoreError(f"{path} must give its size; got comments only.")


def _is_by_cells(header: _Header, n_genes: int, n_cells: int, path: Path) -> bool:
    """Tell whether the rows of the text are cells; a square matrix is taken as 10x writes it."""
    if header.shape == (n_genes, n_cells):
        return False
    if header.shape == (n_cells, n_genes):
        return True
    msg = (
        f"{path} must be of {n_genes:,} genes by {n_cells:,} cells, as its .tsv files name; "
        f"got {header.shape[0]:,} by {header.shape[1]:,}. Take the three files of one matrix."
    )
    raise StoreError(msg)


def _genes(features: pd.DataFrame) -> pd.DataFrame:
    """Return ids and kinds by gene symbol (by id where there is one column only)."""
    table = {"gene_ids": features[0].to_numpy()}
    if features.shape[1] > 2:
        table["feature_types"] = features[2].to_numpy()
    return pd.DataFrame(table, index=features[min(1, features.shape[1] - 1)].to_numpy())


def _table(folder: Path, *names: str) -> pd.DataFrame:
    for name in names:
        path = _either(folder, name)
        if path is not None:
            return pd.read_csv(
                path, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3
            )
    msg = f"{folder} must hold {' or '.join(names)} (or .gz) beside matrix.mtx; it does not."
    raise StoreError(msg)


def _either(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _open_text(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8")
