"""Genes of new cells and genes of a run, matched by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, IntArray

__all__ = ["LEAST_SHARE", "SharedGenes", "shared_genes"]

LEAST_SHARE = 0.5
"""Of the genes that a run selected, the share that new cells must have."""

_NAMED = 20


@dataclass(frozen=True)
class SharedGenes:
    """What new cells and a run have in common.

    Attributes
    ----------
    matrix
        The new cells, with the run's genes alone (selected or not), in the run's order: whatever else was
        measured is no part of a cell's total.
    chosen
        ndarray of int, ascending: its columns that the run selected.
    present
        ndarray of bool, shape (n_selected,): which of the run's selected genes these are.
    missing
        Names of the first of those that are not there.
    """

    matrix: CellMatrix
    chosen: IntArray
    present: BoolArray
    missing: list[str]

    @property
    def n_missing(self) -> int:
        """Selected genes that the new cells lack."""
        return int(np.count_nonzero(~self.present))

    @property
    def share_missing(self) -> float:
        """Their share of the selected genes."""
        return self.n_missing / len(self.present)


def shared_genes(matrix: CellMatrix, genes: pd.Index, selected: IntArray) -> SharedGenes:
    """Match the genes of ``matrix`` with those of a run; names that repeat stand for their first.

    Parameters
    ----------
    genes
        Names of all genes of the run.
    selected
        Positions of those that it selected, ascending.

    Raises
    ------
    InputError
        Less than half of the selected genes are there.
    """
    from scrcl.io.matrix import with_columns

    names = matrix.var.index.astype(str)
    where = names.get_indexer(genes)
    known = where >= 0
    columns, present = where[known], known[selected]
    absent = genes[selected[~present]]
    if present.sum() < LEAST_SHARE * len(selected):
        message = (
            f"genes of the new cells must be those of the run, at least half of its {len(selected):,} "
            f"selected ones; got {present.sum():,}. It has {absent[0]!r} among them, the new cells "
            f"{names[0]!r}: rename the genes of the new cells."
        )
        raise InputError(message)
    same = replace(
        matrix,
        n_vars=len(columns),
        var=matrix.var.iloc[columns],
        rows=lambda block_rows: with_columns(matrix.rows(block_rows), columns),
    )
    chosen = (np.cumsum(known) - 1)[selected[present]]
    return SharedGenes(same, chosen, present, [str(name) for name in absent[:_NAMED]])
