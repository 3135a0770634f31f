"""What comes along with a matrix: tables with usable names, and coordinates of cells."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

__all__ = ["coordinates", "with_unique_names"]

_COORDINATES = (2, 3)

_log = logging.getLogger(__name__)


def with_unique_names(table: pd.DataFrame, *, kind: str, label: str) -> pd.DataFrame:
    """Return ``table`` with string names; repeated ones get ``-1``, ``-2``, and a logged warning.

    ``kind`` ("cell", "gene") and ``label`` (the input) are for the warning.
    """
    names = table.index.astype(str)
    if not names.is_unique:
        repeated = names[names.duplicated()]
        _log.warning(
            "%s has %d repeated %s names, %r first: made unique by -1, -2, ...",
            label,
            len(repeated),
            kind,
            repeated[0],
        )
        names = make_index_unique(names)
    table = table.copy(deep=False)
    table.index = names
    return table


def coordinates(items: Iterable[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """Return the numeric arrays with two or three columns; wider ones could be as big as X.

    ``items`` are those of ``obsm``, in memory or on disk.
    """
    return {
        key: np.asarray(array[...])
        for key, array in items
        if getattr(array, "ndim", 0) == 2
        and array.shape[1] in _COORDINATES
        and getattr(getattr(array, "dtype", None), "kind", "") in "fiu"
    }
