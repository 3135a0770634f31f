"""By what else than its name in var a gene can be known: its id without a version, and its symbol.

Two files of the same genes often name them differently: one by ids, with the symbols in a column of var, the other by
symbols.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.io.gene_names import id_in, symbol_in
from scrcl.markers.listed import symbol_column, texts_of
from scrcl.markers.names import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, IntArray

__all__ = ["Identity", "Match", "identities", "matches"]

_SUFFIX = re.compile(r"(.+)[-.]\d+")
"""A name with the suffix that anndata or R gives to a name that repeats."""


class Identity(NamedTuple):
    """What genes are known by.

    Attributes
    ----------
    column
        Column of var that has it; None: the names.
    values
        ndarray of str objects, shape (n_genes,): empty where a gene has none.
    is_clear
        ndarray of bool, shape (n_genes,): which genes have one that no other gene has.
    """

    column: str | None
    values: NDArray[np.object_]
    is_clear: BoolArray

    @property
    def source(self) -> str:
        """Where it was found."""
        return "the names" if self.column is None else f"var[{self.column!r}]"


@dataclass(frozen=True)
class Match:
    """Genes of one table found in another by an identity that both have.

    Attributes
    ----------
    kind
        ``id`` or ``symbol``.
    of_run, of_new
        Those of the genes of a run, and of new cells.
    where
        ndarray of int, shape (n_genes_of_run,): where each gene is among those of the new cells; -1 where it is not.
    """

    kind: str
    of_run: Identity
    of_new: Identity
    where: IntArray

    @property
    def text(self) -> str:
        """What was compared."""
        kind = "id without version" if self.kind == "id" else self.kind
        return f"{kind} ({self.of_run.source} of the run, {self.of_new.source} of the new cells)"

    @property
    def is_by_name(self) -> bool:
        """Whether it compares the names themselves, as anyone would do first."""
        return self.kind == "symbol" and self.of_run.column is None and self.of_new.column is None

    def count(self, selected: IntArray) -> int:
        """Return how many of the selected genes were found."""
        return int(np.count_nonzero(self.where[selected] >= 0))

    def sentence(self, selected: IntArray, by_name: IntArray) -> str:
        """Return by what genes were matched, and how many, next to those that were found by name."""
        n_by_name = int(np.count_nonzero(by_name[selected] >= 0))
        clear = [set(each.values[each.is_clear]) for each in (self.of_run, self.of_new)]
        in_both = set(self.of_run.values) & set(self.of_new.values)
        n_unclear = len(in_both - {""} - (clear[0] & clear[1]))
        left_out = {
            0: "",
            1: f" One {self.kind} that more than one gene has is left out.",
        }.get(n_unclear, f" {n_unclear:,} {self.kind}s that more than one gene has are left out.")
        return (
            f"Genes were matched by {self.text}, since names match for only {n_by_name:,} of the run's "
            f"{len(selected):,} selected genes: {self.count(selected):,} were found.{left_out}"
        )


def identities(var: pd.DataFrame, *, repeated: Collection[str] = ()) -> dict[str, Identity]:
    """Return the ``id`` and the ``symbol`` of each gene of a table of genes, those that the table has.

    Parameters
    ----------
    var
        Annotations of the genes.
    repeated
        Names that repeated before they were made unique. No symbol is taken from them.
    """
    import pandas as pd

    named: dict[str | None, NDArray[np.object_]] = {None: texts_of(var.index)}
    named.update({str(name): texts_of(var[name]) for name in var if is_text(var[name])})
    ids = {column: _each(id_in, values) for column, values in named.items()}
    of_ids = max(ids, key=lambda column: np.count_nonzero(ids[column]))
    of_symbols = symbol_column(var)
    symbols = _each(symbol_in, named[of_symbols])
    has_symbol = (symbols != "") & (_each(id_in, symbols) == "")
    is_repeated = pd.Index(named[None]).isin([] if of_symbols else list(repeated))
    found = {}
    if _are_most(ids[of_ids] != ""):
        found["id"] = _identity(of_ids, ids[of_ids])
    if _are_most(has_symbol):
        found["symbol"] = _identity(of_symbols, symbols, is_repeated=is_repeated)
    return found


def matches(of_run: Mapping[str, Identity], of_new: Mapping[str, Identity]) -> list[Match]:
    """Match the genes by each identity that both tables have; genes whose identity is not clear are not found."""
    import pandas as pd

    found = []
    for kind in (each for each in of_run if each in of_new):
        here, there = of_run[kind], of_new[kind]
        known = np.flatnonzero(there.is_clear)
        at = pd.Index(there.values[known]).get_indexer(pd.Index(here.values))
        is_found = (at >= 0) & here.is_clear
        where = np.full(len(at), -1)
        where[is_found] = known[at[is_found]]
        found.append(Match(kind, here, there, where))
    return found


def _identity(
    column: str | None, values: NDArray[np.object_], *, is_repeated: BoolArray | bool = False
) -> Identity:
    """Return what genes are known by, and which of the values one gene alone has."""
    import pandas as pd

    there = pd.Index(values)
    roots = pd.Index([found[1] if (found := _SUFFIX.fullmatch(each)) else "" for each in values])
    has_suffix = roots.isin(there[there != ""])
    repeats = there.duplicated(keep=False) | has_suffix | there.isin(roots[has_suffix])
    return Identity(column, values, (values != "") & ~repeats & ~np.asarray(is_repeated))


def _each(function: Callable[[str], str], texts: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.array([function(text) for text in texts], object)


def _are_most(there: BoolArray) -> bool:
    return bool(2 * np.count_nonzero(there) > len(there))
