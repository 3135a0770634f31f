"""Annotations of a matrix: tables with unique names, and coordinates of the cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata.io import read_elem
from anndata.utils import make_index_unique

from scrcl.io.tables import storable_part

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["coordinates", "with_unique_names"]

_N_DIMS = (2, 3)
_NUMBERS = {"f", "i", "u"}

_TABLES = {"cell": "obs", "gene": "var"}

_log = logging.getLogger(__name__)


def with_unique_names(table: pd.DataFrame, *, kind: str, label: str) -> pd.DataFrame:
    """Return ``table`` with unique string names. Repeated names get ``-1``, ``-2``, and log a warning.

    Columns that no result can hold are left out, with a warning (`scrcl.io.tables`).

    Parameters
    ----------
    kind, label
        ``"cell"`` or ``"gene"``, and the name of the input, for the warning.

    Raises
    ------
    InputError
        A name cannot be stored.
    """
    table = storable_part(table, name=_TABLES[kind], kind=kind, label=label)
    names = table.index.astype(str)
    if not names.is_unique:
        repeated = names[names.duplicated()]
        _log.warning(
            "%s has %d repeated %s names, the first is %r. Made them unique with -1, -2, ...",
            label,
            len(repeated),
            kind,
            repeated[0],
        )
        names = make_index_unique(names)
    table = table.copy(deep=False)
    table.index = names
    return table


def coordinates(obsm: Any) -> dict[str, np.ndarray]:
    """Return the numeric arrays and tables of ``obsm`` that have two or three columns.

    Wider ones are skipped, because they could be as large as X.

    Parameters
    ----------
    obsm
        Maps names to arrays or tables: a mapping in memory, or a group on disk.
    """
    found = {}
    for key in obsm:
        if _is_coordinates(obsm[key]):
            found[key] = np.asarray(obsm[key][...])
        elif (table := _table(obsm[key])) is not None:
            found[key] = table
    return found


def _is_coordinates(array: Any) -> bool:
    kind = getattr(getattr(array, "dtype", None), "kind", "")
    return kind in _NUMBERS and array.ndim == 2 and array.shape[1] in _N_DIMS


def _table(element: Any) -> np.ndarray | None:
    """Return a data frame with two or three numeric columns as an array, and None for anything else."""
    import pandas as pd

    attributes = getattr(element, "attrs", {})
    if not isinstance(element, pd.DataFrame):
        if attributes.get("encoding-type") != "dataframe":
            return None
        if len(attributes["column-order"]) not in _N_DIMS:
            return None
        element = read_elem(element)
    if element.shape[1] not in _N_DIMS:
        return None
    values = element.to_numpy()
    return values if values.dtype.kind in _NUMBERS else None
