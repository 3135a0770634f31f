"""Coordinates of cells: the numeric arrays and tables of ``obsm`` that have two or three columns.

A table names its rows and columns. Rows are matched with the cells, and columns of joined samples with each other, by
these names and never by position. What cannot be matched is refused when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from scrcl._warnings import logger_of
from scrcl.errors import InputError
from scrcl.io.attributes import text_attribute, text_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scrcl.typing import IntArray

__all__ = [
    "CellCoordinates",
    "Coordinates",
    "coordinate_keys",
    "joined_coordinates",
    "matched_coordinates",
    "read_coordinates",
    "rows_by_name",
    "take_rows",
]

CellCoordinates: TypeAlias = "np.ndarray | pd.DataFrame"
"""Two or three numbers for each cell, shape (n_obs, 2) or (n_obs, 3)."""

_N_DIMS = (2, 3)
_NUMBERS = "fiu"

_log = logger_of(__name__)


class Coordinates(Mapping[str, CellCoordinates]):
    """Coordinates by name. Each is read and matched with the cells when it is asked for.

    Parameters
    ----------
    keys
        Names of what is there.
    read
        Returns the coordinates of a name, a row for each cell. Raises InputError if they cannot be matched.
    """

    def __init__(self, keys: Sequence[str], read: Callable[[str], CellCoordinates]) -> None:
        self._keys, self._read = tuple(keys), read

    def __getitem__(self, key: str) -> CellCoordinates:
        """Read the coordinates of one name."""
        if key not in self._keys:
            raise KeyError(key)
        return self._read(key)

    def __iter__(self) -> Iterator[str]:
        """Go through the names; nothing is read."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._keys)


def coordinate_keys(obsm: Any) -> list[str]:
    """Return the names of the numeric arrays and tables that have two or three columns.

    Wider ones are skipped, because they could be as large as X.

    Parameters
    ----------
    obsm
        Maps names to arrays or tables: a mapping in memory, or a group on disk.
    """
    return [str(key) for key in obsm if _is_array(obsm[key]) or _is_table(obsm[key])]


def read_coordinates(
    obsm: Any, key: str, *, n_obs: int, cells: Callable[[], pd.Index], label: str
) -> CellCoordinates:
    """Return the coordinates of one name, the rows of a table in the order of the cells.

    Parameters
    ----------
    obsm
        As for `coordinate_keys`.
    n_obs, cells
        Number of cells, and what returns their names, as in the input. An array must have as many rows.
    label
        Name of the input, for messages.

    Raises
    ------
    InputError
        A cell has no row of its name in the table, or the array has another number of rows.
    """
    element = obsm[key]
    if _is_array(element):
        if element.shape[0] != n_obs:
            message = (
                f'obsm["{key}"] must have a row for each of {n_obs:,} cells; got {element.shape[0]:,} rows in {label}. '
                "Repair or remove it."
            )
            raise InputError(message)
        return np.asarray(element[...])
    table = element if isinstance(element, pd.DataFrame) else read_elem(element)
    return table.iloc[rows_by_name(table.index, cells(), what=f'obsm["{key}"]', label=label)]


def rows_by_name(names: pd.Index, needed: pd.Index, *, what: str, label: str) -> IntArray:
    """Return where each of the ``needed`` names is among the ``names`` of the rows of a table.

    Parameters
    ----------
    what, label
        Name of the table and of the input, for the message.

    Returns
    -------
    ndarray of int64, shape (n_needed,)

    Raises
    ------
    InputError
        A name is missing, or the names repeat and come in another order.
    """
    names, needed = names.astype(str), needed.astype(str)
    if names.equals(needed):
        return np.arange(len(needed))
    repeats = next(
        (each[each.duplicated()][0] for each in (names, needed) if not each.is_unique), None
    )
    found = np.full(len(needed), -1) if repeats is not None else names.get_indexer(needed)
    if (found < 0).any():
        why = (
            f"{repeats!r} is there more than once, and the order differs"
            if repeats is not None
            else f"{int((found < 0).sum()):,} have none, the first is {needed[int(np.argmax(found < 0))]!r}"
        )
        message = (
            f"{what} of {label} must have a row of the same name for each of {len(needed):,} names; {why}. "
            f"The first row is {names[0] if len(names) else 'missing'!r}. Repair its index, or remove it."
        )
        raise InputError(message)
    rows: IntArray = found.astype(np.int64)
    return rows


def joined_coordinates(
    key: str, parts: Sequence[CellCoordinates], labels: Sequence[str]
) -> CellCoordinates:
    """Return the coordinates of several samples as one, the columns of tables matched by name.

    Raises
    ------
    InputError
        Some are tables with other columns, arrays of another width, or only some are tables.
    """
    first = parts[0]
    tables = [part for part in parts if isinstance(part, pd.DataFrame)]
    for part, label in zip(parts, labels, strict=True):
        columns, needed = _columns(part), _columns(first)
        if sorted(columns) != sorted(needed) or len(set(columns)) < len(columns):
            message = (
                f'obsm["{key}"] must have the same columns in all samples; got {_named(first)} in {labels[0]} and '
                f"{_named(part)} in {label}. Give them the same columns, or remove it."
            )
            raise InputError(message)
    if len(tables) == len(parts):
        return pd.concat([table[list(tables[0].columns)] for table in tables])
    return np.concatenate([np.asarray(part) for part in parts])


def _columns(values: CellCoordinates) -> list[str]:
    if isinstance(values, pd.DataFrame):
        return [str(column) for column in values.columns]
    return [f"\0{i}" for i in range(values.shape[1])]


def _named(values: CellCoordinates) -> str:
    if isinstance(values, pd.DataFrame):
        return f"a table of {', '.join(map(str, values.columns))}"
    return f"an array of {values.shape[1]} columns"


def matched_coordinates(
    coordinates: Mapping[str, CellCoordinates], *, label: str, keys: Iterable[str] | None = None
) -> dict[str, CellCoordinates]:
    """Return coordinates that can be matched with the cells: all, or those of some ``keys``.

    Others are left out, with a warning.
    """
    matched = {}
    for key in coordinates if keys is None else keys:
        try:
            matched[key] = coordinates[key]
        except InputError as error:
            _log.warning("%s: obsm[%r] is left out. %s", label, key, error)
    return matched


def take_rows(values: CellCoordinates, rows: IntArray) -> CellCoordinates:
    """Return some rows, by position."""
    return values.iloc[rows] if isinstance(values, pd.DataFrame) else values[rows]


def _is_array(element: Any) -> bool:
    kind = getattr(getattr(element, "dtype", None), "kind", "")
    is_dense = kind != "" and kind in _NUMBERS and not sparse.issparse(element)
    return is_dense and element.ndim == 2 and element.shape[1] in _N_DIMS


def _is_table(element: Any) -> bool:
    """Return whether the element is a data frame with two or three numeric columns."""
    if isinstance(element, pd.DataFrame):
        columns = [element.iloc[:, i] for i in range(element.shape[1])]
    elif text_attribute(element, "encoding-type") == "dataframe":
        columns = [element.get(name) for name in text_list(element, "column-order") or ()]
    else:
        return False
    kinds = [getattr(getattr(column, "dtype", None), "kind", "") for column in columns]
    return len(columns) in _N_DIMS and all(kind != "" and kind in _NUMBERS for kind in kinds)
