"""Tables of cells and genes with unique names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from scrcl._warnings import logger_of
from scrcl.io.storable import storable_part

if TYPE_CHECKING:
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray

__all__ = ["unique_genes", "with_unique_names"]

_TABLES = {"cell": "obs", "gene": "var"}

_log = logger_of(__name__)


def with_unique_names(table: pd.DataFrame, *, kind: str, label: str) -> pd.DataFrame:
    """Return ``table`` with unique string names. Repeated names get ``-1``, ``-2``, and log a warning.

    Columns that no result can hold are left out, with a warning (`scrcl.io.storable`).

    Parameters
    ----------
    kind, label
        ``"cell"`` or ``"gene"``, and the name of the input, for the warning.

    Raises
    ------
    InputError
        A name cannot be stored.
    """
    return _named(table, kind=kind, label=label)[0]


def unique_genes(matrix: CellMatrix, *, label: str | None = None) -> CellMatrix:
    """Return ``matrix`` with unique names of genes (`with_unique_names`), and with those that repeated before."""
    label = label or matrix.label
    var, repeated = _named(matrix.var, kind="gene", label=label)
    return replace(matrix, var=var, repeated_genes=tuple(map(str, var.index[repeated])))


def _named(table: pd.DataFrame, *, kind: str, label: str) -> tuple[pd.DataFrame, BoolArray]:
    """Return the table with unique names, and which names repeated before."""
    table = storable_part(table, name=_TABLES[kind], kind=kind, label=label)
    names = table.index.astype(str).where(table.index.notna(), "")
    is_repeated = np.asarray(names.duplicated(keep=False))
    names = _none_empty(names, kind=kind, label=label)
    repeated = names[names.duplicated()]
    if len(repeated):
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
    return table, is_repeated


def _none_empty(names: pd.Index, *, kind: str, label: str) -> pd.Index:
    """Return the names; empty ones are made of the position, with a warning."""
    is_empty = np.asarray(names.str.strip() == "")
    if not is_empty.any():
        return names
    at = np.flatnonzero(is_empty)
    made = np.array(names, object)
    made[at] = [f"unnamed_{kind}_{i}" for i in at.tolist()]
    _log.warning(
        "%s has %d %ss without a name. They are called by their position: %s, ...",
        label,
        len(at),
        kind,
        made[at[0]],
    )
    return pd.Index(made, name=names.name)
