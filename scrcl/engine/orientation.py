"""Genes as rows: a matrix of genes by cells gives clusters of genes, which no later step would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.io.gene_names import is_id
from scrcl.markers.kinds import gene_kinds

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.io.matrix import CellMatrix

__all__ = ["rows_note"]

_MOST_ROWS = 100_000
"""No reference has more genes. The names of more cells are not read for this."""

_FEWEST = 20
"""Names that must be those of genes."""


def rows_note(matrix: CellMatrix) -> str | None:
    """Return a note if the rows have the names of genes and the columns do not."""
    if matrix.n_obs > _MOST_ROWS or _named_genes(matrix.var.index).any():
        return None
    cells = matrix.fresh_obs().index.astype(str)
    found = _named_genes(cells)
    if found.sum() < _FEWEST:
        return None
    first = cells[int(np.argmax(found))]
    return (
        f"Rows of {matrix.label} have names of genes, such as {first}, and its columns have none: cells and genes may "
        "be exchanged. If so, transpose it, in Python: adata.T."
    )


def _named_genes(names: pd.Index) -> np.ndarray:
    """Return which names are ids of a database or well-known symbols: bool, shape (n_names,)."""
    ids = [is_id(name) for name in names.astype(str)]
    found: np.ndarray = np.array(ids, dtype=bool) | (gene_kinds(names.astype(str)) != "")
    return found
