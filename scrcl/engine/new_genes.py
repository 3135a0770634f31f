"""Genes of new cells and genes of a run, matched by name; where a name repeats, by id.

Where names do not match, because one side has ids and the other symbols, genes are matched by what both sides hold
besides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError
from scrcl.markers.identities import identities, matches
from scrcl.prep.artifacts import SELECTED_GENES

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.markers.identities import Match
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
    matched_by
        What genes were matched by, or which were not, as a sentence; empty where all were matched by their names.
    """

    matrix: CellMatrix
    columns: IntArray
    chosen: IntArray
    present: BoolArray
    missing: list[str]
    matched_by: str = ""

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
        Less than half of the selected genes are there.
    """
    from scrcl.io.rows import with_columns

    selected = run.open(SELECTED_GENES)
    where, matched_by = _found(matrix, run, selected)
    known = where >= 0
    columns, present = where[known], known[selected]
    absent = run.genes[selected[~present]]
    same = replace(
        matrix,
        n_vars=len(columns),
        var=matrix.var.iloc[columns],
        rows=lambda block_rows: with_columns(matrix.rows(block_rows), columns),
    )
    chosen = (np.cumsum(known) - 1)[selected[present]]
    missing = [str(name) for name in absent[:_MOST_NAMES]]
    return SharedGenes(same, columns, chosen, present, missing, matched_by)


def _found(matrix: CellMatrix, run: OpenRun, selected: IntArray) -> tuple[IntArray, str]:
    """Return where the genes of the run are among those of the new cells, and `SharedGenes.matched_by`."""
    genes, names = run.genes, matrix.var.index.astype(str)
    by_name: IntArray = names.get_indexer(genes)
    others = [] if _are_enough(by_name[selected]) else _by_other_identities(matrix, run)
    best = max(others, key=lambda each: each.count(selected), default=None)
    if best is not None and _are_enough(best.where[selected]):
        return best.where, best.sentence(selected, by_name)
    where, unclear = by_name, ""
    if not names.equals(genes):
        where, unclear = _with_repeated(by_name, matrix, run, selected)
    if _are_enough(where[selected]):
        return where, unclear
    present = where[selected] >= 0
    n_found = np.count_nonzero(present)
    tried = [f"{each.count(selected):,} by {each.text}" for each in others if not each.is_by_name]
    counts = ", ".join([f"{n_found:,} by name", *tried]) if tried else f"{n_found:,}"
    message = (
        f"genes of the new cells must include at least half of the run's {len(selected):,} selected "
        f"genes; got {counts}. {_remedy(genes[selected[~present]], present, names)}"
        f"{f' {unclear}' if unclear else ''}"
    )
    raise InputError(message)


def _are_enough(where: IntArray) -> bool:
    """Return whether enough of the selected genes were found."""
    return bool(np.count_nonzero(where >= 0) >= _LEAST_SHARE * len(where))


def _by_other_identities(matrix: CellMatrix, run: OpenRun) -> list[Match]:
    """Return the genes as found by their ids and by their symbols, where both sides have these."""
    from scrcl.engine.stages.read import ReadStage

    here = identities(run.var, repeated=run.record(ReadStage).repeated_genes)
    there = identities(matrix.var, repeated=matrix.repeated_genes)
    return matches(here, there)


def _remedy(absent: pd.Index, present: BoolArray, names: pd.Index) -> str:
    """Return what to do about genes of the run that are ``absent`` among the names of the new cells."""
    in_capitals = dict(zip(names.str.upper(), names, strict=True))
    pairs = [
        (name, in_capitals[capitals])
        for name, capitals in zip(absent, absent.str.upper(), strict=True)
        if capitals in in_capitals
    ]
    if len(pairs) >= _LEAST_SHARE * len(absent):
        ours, theirs = pairs[0]
        return (
            f"The run has {ours!r}, the new cells have {theirs!r}: names differ in upper and lower case, as between "
            "human and mouse. Give the genes of the new cells the names of the run."
        )
    if present.mean() < _FEW:
        return (
            f"The run has {absent[0]!r}, the new cells have {names[0]!r}: use the same kind of names, or add a column "
            "of var with the symbols or ids that the run has."
        )
    some = ", ".join(map(str, absent[:3]))
    return (
        f"{len(absent):,} are missing ({some}{', ...' if len(absent) > 3 else ''}). Use a file with all genes that "
        "were measured, not a selection of them."
    )


def _with_repeated(
    where: IntArray, matrix: CellMatrix, run: OpenRun, selected: IntArray
) -> tuple[IntArray, str]:
    """Return where the genes of the run are, and what to know about those of a name that repeats, as a sentence.

    These are found by their ids. The suffix that makes a name unique depends on the order of the genes, so it shows
    nothing: without ids, they count as missing.
    """
    from scrcl.engine.stages.read import ReadStage

    genes, names = run.genes, matrix.var.index.astype(str)
    unclear = np.asarray(genes.isin(run.record(ReadStage).repeated_genes))
    unclear |= (where >= 0) & np.asarray(names.isin(matrix.repeated_genes))[where]
    ids, ids_there = _ids(run.var), _ids(matrix.var)
    if ids is not None and ids_there is not None:
        return np.where(unclear, ids_there.get_indexer(ids), where), ""
    lost = genes[selected][(unclear & (where >= 0))[selected]]
    known: IntArray = np.where(unclear, -1, where)
    if not len(lost):
        return known, ""
    lacking = " and ".join(
        text for text, found in (("the run", ids), ("the new cells", ids_there)) if found is None
    )
    some = ", ".join(map(str, lost[:3])) + (", ..." if len(lost) > 3 else "")
    have, count = ("has", "it counts") if len(lost) == 1 else ("have", "they count")
    return known, (
        f"{len(lost):,} of the run's {len(selected):,} selected genes {have} a name that more than one gene has "
        f"({some}), without unique var['gene_ids'] in {lacking} to know which is which: {count} as missing. Add "
        "gene_ids, or give the genes in the order of the run."
    )


def _ids(var: pd.DataFrame) -> pd.Index | None:
    """Return the ids of the genes if there are unique ones."""
    import pandas as pd

    ids = pd.Index(var[_IDS].astype(str)) if _IDS in var else None
    return ids if ids is not None and ids.is_unique else None


def missing_note(shared: SharedGenes) -> str:
    """Return which of the selected genes the new cells lack, as a sentence."""
    names = ", ".join(shared.missing[:3]) + (", ..." if shared.n_missing > 3 else "")
    are = "is" if shared.n_missing == 1 else "are"
    return (
        f"{shared.n_missing:,} of the run's {len(shared.present):,} selected genes "
        f"({shared.share_missing:.0%}) {are} not in the new cells ({names}). The other genes are used to fill the gap."
    )
