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

__all__ = ["missing_note", "shared_genes"]

_LEAST_SHARE = 0.5
"""Share of the run's selected genes that new cells must have."""

_MOST_NAMES = 20


@dataclass(frozen=True)
class SharedGenes:
    """What new cells and a run have in common.

    Attributes
    ----------
    matrix
        The new cells with only the genes of the run (selected or not), in the run's order. Other genes do not count
        in a cell's total.
    chosen
        ndarray of int, ascending: its columns that the run selected.
    present
        ndarray of bool, shape (n_selected,): which of the run's selected genes the new cells have.
    missing
        Names of the first genes that they lack.
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
    """Match the genes of ``matrix`` with those of a run. Of repeated names the first counts.

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
    if present.sum() < _LEAST_SHARE * len(selected):
        message = (
            f"genes of the new cells must include at least half of the run's {len(selected):,} selected "
            f"genes; got {present.sum():,}. The run has {absent[0]!r}, the new cells have {names[0]!r}: "
            "use the same kind of names."
        )
        raise InputError(message)
    same = replace(
        matrix,
        n_vars=len(columns),
        var=matrix.var.iloc[columns],
        rows=lambda block_rows: with_columns(matrix.rows(block_rows), columns),
    )
    chosen = (np.cumsum(known) - 1)[selected[present]]
    return SharedGenes(same, chosen, present, [str(name) for name in absent[:_MOST_NAMES]])


def missing_note(shared: SharedGenes) -> str:
    """Return which of the selected genes the new cells lack, as a sentence."""
    names = ", ".join(shared.missing[:3]) + (", ..." if shared.n_missing > 3 else "")
    return (
        f"{shared.n_missing:,} of the run's {len(shared.present):,} selected genes "
        f"({shared.share_missing:.0%}) are not in the new cells ({names}). The other genes are used to fill the gap."
    )
