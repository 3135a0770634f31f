"""Genes of new cells and genes of a run, matched by name; where a name repeats, by id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError
from scrcl.prep.artifacts import SELECTED_GENES

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, IntArray

__all__ = ["missing_note", "shared_genes"]

_LEAST_SHARE = 0.5
"""Share of the run's selected genes that new cells must have."""

_FEW = 0.1
"""Share of the selected genes below which names of another kind are likelier than genes that were left out."""

_MOST_NAMES = 20
_IDS = "gene_ids"


@dataclass(frozen=True)
class SharedGenes:
    """What new cells and a run have in common.

    Attributes
    ----------
    matrix
        The new cells with only the genes of the run (selected or not), in the run's order. Other genes do not count
        in a cell's total.
    columns
        ndarray of int: where these genes are among those of the new cells.
    chosen
        ndarray of int, ascending: its columns that the run selected.
    present
        ndarray of bool, shape (n_selected,): which of the run's selected genes the new cells have.
    missing
        Names of the first genes that they lack.
    """

    matrix: CellMatrix
    columns: IntArray
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


def shared_genes(matrix: CellMatrix, run: OpenRun) -> SharedGenes:
    """Match the genes of ``matrix`` with those of a run.

    Raises
    ------
    InputError
        Less than half of the selected genes are there, or a selected gene has a name that repeats, and no ids tell
        which it is.
    """
    from scrcl.io.rows import with_columns

    selected = run.open(SELECTED_GENES)
    genes, names = run.genes, matrix.var.index.astype(str)
    where: IntArray = names.get_indexer(genes)
    if not names.equals(genes):
        where = _with_repeated(where, matrix, run, selected)
    known = where >= 0
    columns, present = where[known], known[selected]
    absent = genes[selected[~present]]
    if present.sum() < _LEAST_SHARE * len(selected):
        message = (
            f"genes of the new cells must include at least half of the run's {len(selected):,} selected "
            f"genes; got {present.sum():,}. {_remedy(absent, present, names)}"
        )
        raise InputError(message)
    same = replace(
        matrix,
        n_vars=len(columns),
        var=matrix.var.iloc[columns],
        rows=lambda block_rows: with_columns(matrix.rows(block_rows), columns),
    )
    chosen = (np.cumsum(known) - 1)[selected[present]]
    return SharedGenes(same, columns, chosen, present, [str(name) for name in absent[:_MOST_NAMES]])


def _remedy(absent: pd.Index, present: BoolArray, names: pd.Index) -> str:
    """Return what to do about genes of the run that are ``absent`` among the names of the new cells."""
    by_plain = dict(zip(_plain(names), names, strict=True))
    pairs = [
        (name, by_plain[plain])
        for name, plain in zip(absent, _plain(absent), strict=True)
        if plain in by_plain
    ]
    if len(pairs) >= _LEAST_SHARE * len(absent):
        ours, theirs = pairs[0]
        return (
            f"The run has {ours!r}, the new cells have {theirs!r}: names differ in upper and lower case, as between "
            "human and mouse, or in the version of an id. Give the genes of the new cells the names of the run."
        )
    if present.mean() < _FEW:
        return f"The run has {absent[0]!r}, the new cells have {names[0]!r}: use the same kind of names."
    some = ", ".join(map(str, absent[:3]))
    return (
        f"{len(absent):,} are missing ({some}{', ...' if len(absent) > 3 else ''}). Use a file with all genes that "
        "were measured, not a selection of them."
    )


def _with_repeated(
    where: IntArray, matrix: CellMatrix, run: OpenRun, selected: IntArray
) -> IntArray:
    """Return where the genes of the run are, those of a name that repeats found by their ids.

    The suffix that makes a name unique depends on the order of the genes, so it shows nothing.
    """
    from scrcl.engine.stages.read import ReadStage

    genes, names = run.genes, matrix.var.index.astype(str)
    unclear = np.asarray(genes.isin(run.record(ReadStage).repeated_genes))
    unclear |= (where >= 0) & np.asarray(names.isin(matrix.repeated_genes))[where]
    if not unclear.any():
        return where
    ids, ids_there = _ids(run.var), _ids(matrix.var)
    if ids is not None and ids_there is not None:
        return np.where(unclear, ids_there.get_indexer(ids), where)
    if unclear[selected].any():
        name = genes[selected[np.argmax(unclear[selected])]]
        lacking = " and ".join(
            text
            for text, found in (("the run", ids), ("the new cells", ids_there))
            if found is None
        )
        message = (
            f"genes of the new cells must be those of the run; got the name {name!r} more than once, and "
            f"{lacking} without unique var['gene_ids'] to know which is which. Add gene_ids, or give the genes in "
            "the order of the run."
        )
        raise InputError(message)
    return where


def _ids(var: pd.DataFrame) -> pd.Index | None:
    """Return the ids of the genes if there are unique ones."""
    import pandas as pd

    ids = pd.Index(var[_IDS].astype(str)) if _IDS in var else None
    return ids if ids is not None and ids.is_unique else None


def missing_note(shared: SharedGenes) -> str:
    """Return which of the selected genes the new cells lack, as a sentence."""
    names = ", ".join(shared.missing[:3]) + (", ..." if shared.n_missing > 3 else "")
    return (
        f"{shared.n_missing:,} of the run's {len(shared.present):,} selected genes "
        f"({shared.share_missing:.0%}) are not in the new cells ({names}). The other genes are used to fill the gap."
    )


def _plain(names: pd.Index) -> pd.Index:
    """Return names in upper case, Ensembl ids without their version."""
    return names.astype(str).str.upper().str.replace(r"^(ENS[A-Z]*\d+)\.\d+$", r"\1", regex=True)
