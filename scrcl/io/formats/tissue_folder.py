"""The folder that Space Ranger or Xenium leaves: a matrix, and the coordinates of its spots or cells.

The matrix is read as any other of its format, alone or as the folder. This module adds the coordinates, columns of obs,
and the images of the tissue, where scanpy and squidpy look for them: ``obsm["spatial"]`` and ``uns["spatial"]``.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from scrcl._warnings import logger_of
from scrcl.errors import StoreError
from scrcl.io.coordinates import Coordinates, rows_by_name
from scrcl.io.formats import mtx, tenx
from scrcl.io.identity import file_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scrcl.io.matrix import CellMatrix
    from scrcl.io.transpose import Scratch

__all__ = ["open_matrix", "recognizes"]

_log = logger_of(__name__)


class _Kind(NamedTuple):
    """How a program names its files and columns.

    Parameters
    ----------
    matrices
        Patterns of the matrix that it filtered, and of all its matrices, within the folder.
    tables
        The files with the coordinates, the one that needs no other library first.
    columns
        Names of the columns of a text that has none.
    cell, x, y
        Columns with the name of a cell and its coordinates.
    """

    matrices: tuple[str, ...]
    all_matrices: tuple[str, ...]
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    cell: str
    x: str
    y: str


_KINDS = (
    _Kind(
        matrices=(
            "filtered_feature_bc_matrix.h5",
            "*_filtered_feature_bc_matrix.h5",
            "filtered_feature_bc_matrix",
        ),
        all_matrices=("*feature_bc_matrix.h5", "*feature_bc_matrix"),
        tables=(
            "spatial/tissue_positions.csv",
            "spatial/tissue_positions_list.csv",
            "spatial/tissue_positions.parquet",
        ),
        columns=(
            "barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres",
        ),
        cell="barcode",
        x="pxl_col_in_fullres",
        y="pxl_row_in_fullres",
    ),
    _Kind(
        matrices=("cell_feature_matrix.h5", "cell_feature_matrix"),
        all_matrices=("cell_feature_matrix.h5", "cell_feature_matrix"),
        tables=("cells.csv.gz", "cells.csv", "cells.parquet"),
        columns=(),
        cell="cell_id",
        x="x_centroid",
        y="y_centroid",
    ),
)  # fmt: skip

_IMAGES = {"hires": "tissue_hires_image.png", "lowres": "tissue_lowres_image.png"}


class _Found(NamedTuple):
    """The files of one tissue."""

    kind: _Kind
    folder: Path
    matrix: Path
    table: Path


def recognizes(path: Path, file: h5py.File | None) -> bool:  # noqa: ARG001
    """Return whether the path is such a folder, or a matrix that lies in one."""
    return _find(path) is not None


def open_matrix(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix with the coordinates of its cells; see `scrcl.io.open.open_input`."""
    found = _find(path)
    assert found is not None
    open_it = tenx.open_matrix if found.matrix.is_file() else mtx.open_matrix
    matrix: CellMatrix = open_it(found.matrix, layer=layer, scratch=scratch)
    shape = (matrix.n_obs, matrix.n_vars)
    table_identity = file_identity(found.table, shape=shape, layer=None)
    # The table may be moved with the folder; what it holds may not change.
    identity = {
        **matrix.identity,
        "path": str(path.resolve()),
        "coordinates": table_identity["content"],
    }
    label = path.name or path.resolve().name

    def table() -> pd.DataFrame:
        return _numbers_of(found, matrix.load_obs().index)

    def coordinates_read(key: str) -> np.ndarray:  # noqa: ARG001 - there is one
        return _coordinates(found, table())

    return replace(
        matrix,
        label=label,
        load_obs=lambda: table().drop(columns=[found.kind.x, found.kind.y]),
        load_obsm=lambda: Coordinates(("spatial",), coordinates_read),
        identity=identity,
        sources=(lambda: _source(found, table, label),),
        values_in_source=False,
    )


def _find(path: Path) -> _Found | None:
    for kind in _KINDS:
        for folder, patterns in ((path, kind.matrices), (path.parent, kind.all_matrices)):
            matrices = [each for pattern in patterns for each in _matching(folder, pattern)]
            if folder != path:
                matrices = [each for each in matrices if each == path]
            table = next((folder / name for name in kind.tables if (folder / name).is_file()), None)
            if matrices and table is not None:
                return _Found(kind, folder, matrices[0], table)
    return None


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return the matrices of a folder under a name."""
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    return [each for each in found if each.is_file() or mtx.recognizes(each, None)]


def _numbers_of(found: _Found, cells: pd.Index) -> pd.DataFrame:
    """Return the numbers of each cell: its coordinates, and what else the file has of it."""
    table = _read_table(found)
    kind, needed = found.kind, {found.kind.cell, found.kind.x, found.kind.y}
    if missing := sorted(needed - set(table.columns)):
        message = (
            f"{found.table} must have the columns {kind.cell}, {kind.x} and {kind.y}; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Write it again."
        )
        raise StoreError(message)
    table.index = pd.Index(table.pop(kind.cell).astype(str))
    rows = rows_by_name(table.index, cells, what=found.table.name, label=str(found.folder))
    numbers = table.iloc[rows].select_dtypes("number").set_axis(cells)
    for axis in (kind.x, kind.y):
        if axis not in numbers:
            message = f"{axis} of {found.table} must be numbers; got {table[axis].iloc[0]!r}. Write it again."
            raise StoreError(message)
        missing = ~np.isfinite(numbers[axis].to_numpy(np.float64))
        if missing.any():
            message = (
                f"{axis} of {found.table} must be a number for each cell; {int(missing.sum()):,} have none, the first "
                f"is {cells[int(np.argmax(missing))]}. Copy the file again, or leave these cells out of the matrix."
            )
            raise StoreError(message)
    return numbers


def _read_table(found: _Found) -> pd.DataFrame:
    path = found.table
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        table = pd.read_csv(path, index_col=False)
        columns = found.kind.columns
        if columns and columns[0] not in table and len(columns) == table.shape[1]:
            return pd.read_csv(
                path, header=None, names=list(columns)
            )  # older texts name no columns
    except ImportError as error:
        message = f"{path} needs a library that reads Parquet: install pyarrow, or write it as {found.kind.tables[0]}."
        raise StoreError(message) from error
    except (OSError, ValueError, UnicodeError) as error:
        message = (
            f"{path} must be a readable table; got {type(error).__name__}: {error}. Copy it again."
        )
        raise StoreError(message) from error
    return table


def _coordinates(found: _Found, table: pd.DataFrame) -> np.ndarray:
    return table[[found.kind.x, found.kind.y]].to_numpy(np.float64)


@contextmanager
def _source(found: _Found, table: Callable[[], pd.DataFrame], label: str) -> Iterator[AnnData]:
    """Open what the result keeps besides the tables: the coordinates, and the images of the tissue."""
    read = table()
    images = _images(found.folder / "spatial", label)
    library = _library(found) if images else ""
    yield AnnData(
        obs=pd.DataFrame(index=read.index),
        obsm={"spatial": _coordinates(found, read)},
        uns={"spatial": {library: images}} if images else {},
    )


def _library(found: _Found) -> str:
    """Return the name of the library, as scanpy does: that in the matrix, else that of the folder."""
    folder = found.folder.resolve()
    fallback = folder.parent.name if folder.name == "outs" else folder.name
    if not found.matrix.is_file():
        return fallback
    with h5py.File(found.matrix, "r") as file:
        names = np.atleast_1d(np.asarray(file.attrs.get("library_ids", [])))
    if not len(names):
        return fallback
    return names[0].decode(errors="replace") if isinstance(names[0], bytes) else str(names[0])


def _images(folder: Path, label: str) -> dict[str, Any]:
    """Return images and how they are scaled; nothing where the scale is missing. What is damaged is left out."""
    from PIL import Image

    scales = folder / "scalefactors_json.json"
    if not scales.is_file():
        return {}
    try:
        found = {str(key): float(value) for key, value in json.loads(scales.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _log.warning("%s: %s is left out, because it cannot be read: %s", label, scales.name, error)
        return {}
    images = {}
    for name, file in _IMAGES.items():
        if not (folder / file).is_file():
            continue
        try:
            with Image.open(folder / file) as image:
                images[name] = np.asarray(image.convert("RGB"))
        except Exception as error:  # noqa: BLE001 - a picture only adds to the result
            _log.warning("%s: %s is left out, because it cannot be read: %s", label, file, error)
    return {"images": images, "scalefactors": found, "metadata": {}}
