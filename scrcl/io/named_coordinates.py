"""Coordinates that lie elsewhere than in ``obsm["spatial"]``: in obsm, in columns of obs, or in a table."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scrcl.errors import InputError
from scrcl.io.coordinates import rows_by_name
from scrcl.io.text_tables import read_text_table

if TYPE_CHECKING:
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import FloatArray

__all__ = ["read_named_coordinates", "suggested_coordinates"]

_N_DIMS = (2, 3)
_AXES = ("x", "y", "z")

_USUAL = (
    "{}", "{}_centroid", "{}_center", "center_{}", "centroid_{}", "{}_location", "{}_coord", "coord_{}", "{}_um",
    "{}_px", "center{}_global_px", "pos_{}", "{}_position", "spatial_{}", "{}c", "{}_global_px", "global_{}",
)  # fmt: skip
"""Names of columns that programs for tissues give to coordinates, without regard to case."""


def read_named_coordinates(matrix: CellMatrix, where: str) -> FloatArray:
    """Return the coordinates of the cells.

    Parameters
    ----------
    where
        A key of obsm, two or three columns of obs with commas, or the path of a text. The first column of the text has
        the names of the cells. Its coordinates are its columns x, y and z, or else all others.

    Returns
    -------
    ndarray of float64, shape (n_obs, 2) or (n_obs, 3)

    Raises
    ------
    InputError
        There is no such key, column or file; a cell is missing; or there are other than two or three numbers.
    """
    if where in matrix.obsm:
        return np.asarray(matrix.obsm[where], np.float64)
    obs = matrix.fresh_obs()
    columns = [name.strip() for name in where.split(",")]
    if all(name in obs for name in columns):
        return _numbers(obs[columns], "a column of obs", where)
    if Path(where).is_file():
        return _numbers(_table(Path(where), obs.index), "a column of numbers", where)
    missing = [name for name in columns if name not in obs]
    found = {
        "obsm with two or three columns": sorted(matrix.obsm),
        "columns of obs": list(map(str, obs)),
    }
    there = "; ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in found.items())
    message = (
        f"coordinates must be a key of obsm, columns of obs with commas, or a file; got {where!r}"
        f"{f', and obs has no {missing[0]!r}' if len(missing) < len(columns) else ''}. There are {there}."
    )
    raise InputError(message)


def suggested_coordinates(matrix: CellMatrix) -> str | None:
    """Return what an input without ``obsm["spatial"]`` calls its coordinates, by usual names; None if it has none."""
    for key in matrix.obsm:
        if "spatial" in key.lower():
            return key
    columns = {str(name).lower(): str(name) for name in matrix.fresh_obs()}
    for pattern, dims in product(_USUAL, (3, 2)):
        names = [pattern.format(axis) for axis in _AXES[:dims]]
        if all(name in columns for name in names):
            return ",".join(columns[name] for name in names)
    return None


def _table(path: Path, cells: pd.Index) -> pd.DataFrame:
    """Return the rows of a text for the cells: its columns x, y and z where it has them, else all after the first."""
    table = read_text_table(path, what="coordinates")
    table.index = pd.Index(table.iloc[:, 0].astype(str))
    rows = rows_by_name(table.index, cells, what="the first column", label=str(path))
    rest = table.iloc[rows, 1:]
    axes = {str(column).lower(): column for column in rest if str(column).lower() in _AXES}
    return rest[[axes[axis] for axis in sorted(axes)]] if len(axes) in _N_DIMS else rest


def _numbers(table: pd.DataFrame, what: str, where: str) -> FloatArray:
    if table.shape[1] not in _N_DIMS:
        message = (
            f"coordinates must be two or three columns; got {table.shape[1]} in {where!r}: "
            f"{', '.join(map(str, table)) or 'none'}. Call them x, y and z, or leave out the others."
        )
        raise InputError(message)
    axes = []
    for name in table:
        values = pd.to_numeric(table[name].astype(object), errors="coerce").to_numpy(np.float64)
        # What is missing is no text; it is refused with the number of such cells, where coordinates are checked.
        texts = np.isnan(values) & table[name].notna().to_numpy() & (table[name] != "").to_numpy()
        if texts.any():
            message = (
                f"coordinates must be numbers; got {table[name][texts].iloc[0]!r} in {what}, {name!r}, for the cell "
                f"{table.index[int(np.argmax(texts))]}. Repair it, or name other columns."
            )
            raise InputError(message)
        axes.append(values)
    return np.column_stack(axes)
