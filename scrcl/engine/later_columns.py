"""Columns of cells that were made after the run: in the AnnData in a notebook, or in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.annotate import without_ours
from scrcl.engine.arguments import shown
from scrcl.engine.stages import STAGES
from scrcl.errors import InputError
from scrcl.io.annotations import with_unique_names
from scrcl.io.results import read_obs
from scrcl.io.text_tables import read_text_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.open_run import OpenRun

__all__ = ["column_of_table", "obs_of_run"]

_MISSING = ("", "NA", "NaN", "nan")
"""What R, pandas and spreadsheets write for a cell without a value."""


def obs_of_run(run: OpenRun, data: AnnData | None = None) -> pd.DataFrame:
    """Return obs of the result, with the columns that ``data`` has now in place of those that the run copied.

    Clusters, names and what else a run writes are always those of the run.

    Parameters
    ----------
    data
        The AnnData of the run. Cells are matched by name.

    Raises
    ------
    InputError
        It is no AnnData, or has none of the cells.
    """
    obs = read_obs(run.result_path, whole=True)
    if data is None:
        return obs
    import anndata

    if not isinstance(data, anndata.AnnData):
        message = f"data must be the AnnData that the run was made of; got {shown(data)}."
        raise InputError(message)
    now = with_unique_names(without_ours(data.obs, STAGES), kind="cell", label="AnnData object")
    if not now.index.isin(obs.index).any():
        message = (
            f"data must hold the cells of {run.path}, which has {obs.index[0]} ...; got an AnnData that has "
            f"{', '.join(now.index[:1])} ..., and no cell with the same name."
        )
        raise InputError(message)
    return obs.drop(columns=obs.columns.intersection(now.columns)).join(now)


def column_of_table(
    path: Path, column: str, cells: pd.Index, *, out: Path, n_out: int = 0
) -> pd.Series:
    """Return a column of a table of cells, whose first column has their names; missing for cells that it lacks.

    Parameters
    ----------
    cells
        Names of the cells of the result.
    out
        Folder of the run, for messages.
    n_out
        Cells of the input that the run left out. The table may have so many other names.

    Raises
    ------
    InputError
        The table cannot be read, has no such column or two of them, or names a cell twice, or more
        cells that the result lacks than the run left out.
    """
    table = read_text_table(path, what="table")
    names, columns = table.iloc[:, 0].str.strip(), list(table.columns[1:])
    if columns.count(column) != 1:
        found = f"{columns.count(column)} columns" if column in columns else "none"
        message = (
            f"table must have one column {column!r} after the names of the cells; got {path} with {found} of this "
            f"name. There are: {', '.join(columns) or 'none'}."
        )
        raise InputError(message)
    is_other, is_repeat = ~names.isin(cells), names.duplicated()
    if is_other.sum() > n_out:
        more = f", the first of {is_other.sum():,}" if is_other.sum() > 1 else ""
        message = (
            f"table must have names of cells of {out}, such as {cells[0]}, in its first column; got "
            f"{names[is_other].iloc[0]!r} in {path} (line {is_other.idxmax():,}{more}). Repair the name, or leave out "
            f"the line{'s' if is_other.sum() > 1 else ''}."
        )
        raise InputError(message)
    if is_repeat.any():
        message = (
            f"table must have each cell once; got {names[is_repeat].iloc[0]!r} again in {path} "
            f"(line {is_repeat.idxmax():,}). Leave out one of the lines."
        )
        raise InputError(message)
    values = table.iloc[:, 1 + columns.index(column)].str.strip()
    return values.mask(values.isin(_MISSING)).set_axis(names).reindex(cells)
