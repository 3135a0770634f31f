"""How genes are listed: the name of each in var, its symbol where var has a column of symbols, and its kind.

Names of var are the key everywhere. People read symbols, so whatever is shown has these where they are known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scrcl.io.gene_names import is_id, symbol_in
from scrcl.markers.kinds import gene_kinds
from scrcl.markers.names import is_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = [
    "LEFT_OUT",
    "FirstGenes",
    "ListedGenes",
    "first_genes",
    "id_that_is_shown",
    "short_list",
    "shown_genes",
    "symbol_column",
    "texts_of",
]

_LEFT_OUT_KINDS = ("ribosomal", "mitochondrial")
"""Kinds that short lists leave out."""

LEFT_OUT = "Ribosomal and mitochondrial genes are left out here; the tables of markers have them."

_OTHER_ID = re.compile(r"(ENS[A-Z]*[PT]\d{6,}|\d+)(\.\d+)?")
"""Ids of transcripts and proteins, and numbers."""
_USUAL = (
    "feature_name", "gene_symbols", "gene_symbol", "gene_name", "gene_names", "gene_short_name", "symbol", "symbols",
    "genesymbol", "genename",
)  # fmt: skip
"""Names that columns of symbols have, in lower case: of CELLxGENE, of scanpy's readers, of tables from R."""


def symbol_column(var: pd.DataFrame) -> str | None:
    """Return the column of var that has symbols; None where the index has them, or nothing has.

    Symbols of human and mouse are known by the genes that have a kind (`scrcl.markers.kinds`): the column must have
    more than twice as many of them as the index. Symbols of other species have no kind. There the column has one of the
    usual names, and no ids.
    """
    texts = [str(name) for name in var if is_text(var[name])]
    in_index, *in_columns = (
        int(np.count_nonzero(gene_kinds(texts_of(values))))
        for values in (var.index, *(var[name] for name in texts))
    )
    most = max(in_columns, default=0)
    if most > 2 * in_index:
        return texts[in_columns.index(most)]
    by_name = {name.lower(): name for name in reversed(texts)}
    usual = (by_name[name] for name in _USUAL if name in by_name and not in_index)
    return next((name for name in usual if not _are_ids(var[name])), None)


@dataclass(frozen=True)
class ListedGenes:
    """Genes as tables list them.

    Attributes
    ----------
    names
        ndarray of str objects, shape (n_genes,): names in var, the key.
    symbols
        The same of symbols, empty where a gene has none; None where neither a column of var nor the names have any.
    kinds
        Kind of each gene (`scrcl.markers.kinds`).
    """

    names: NDArray[np.object_]
    symbols: NDArray[np.object_] | None
    kinds: NDArray[np.object_]

    @classmethod
    def of_var(cls, var: pd.DataFrame) -> ListedGenes:
        """Return the genes of a table of genes."""
        column, names = symbol_column(var), texts_of(var.index)
        symbols = texts_of(var[column]) if column is not None else _within(names)
        if symbols is None:
            return cls(names, None, gene_kinds(names))
        return cls(names, symbols, gene_kinds(symbols))

    def at(self, positions: IntArray) -> ListedGenes:
        """Return some of the genes."""
        symbols = None if self.symbols is None else self.symbols[positions]
        return ListedGenes(self.names[positions], symbols, self.kinds[positions])

    def positions(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return where genes are, by name or by symbol; those that are not there are left out."""
        names, symbols = self.names, () if self.symbols is None else self.symbols
        place: dict[str, int] = {}
        for texts in (names, symbols):
            for position, text in enumerate(texts):
                place.setdefault(text, position)
        return {each: place[each] for each in wanted if each in place}

    def columns(self) -> dict[str, Any]:
        """Return the columns of a table: ``gene``, ``symbol`` if there are any, and ``kind``."""
        symbols = {} if self.symbols is None else {"symbol": self.symbols}
        return {"gene": self.names, **symbols, "kind": self.kinds}

    def shown(self) -> list[str]:
        """Return how the genes are shown: by their symbol, or by their name where they have none."""
        return _shown(self.names, self.symbols)


def shown_genes(table: pd.DataFrame) -> list[str]:
    """Return how the genes of a table with the columns of `ListedGenes` are shown."""
    return _shown(table["gene"], table.get("symbol"))


def short_list(markers: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table of markers that short lists have, ranked again.

    Ribosomal and mitochondrial genes differ with the state of cells of any type, and lead the lists of many clusters.
    They are left out, but where a cluster has no other genes.
    """
    is_kept = ~markers["kind"].isin(_LEFT_OUT_KINDS)
    has_any = is_kept.groupby(markers["cluster"]).transform("any").astype(bool)
    kept = markers[is_kept | ~has_any]
    return kept.assign(rank=kept.groupby("cluster").cumcount())


class FirstGenes(NamedTuple):
    """First genes of a cluster in its short list.

    Attributes
    ----------
    shown
        The genes, as they are shown.
    n_left_out
        How many others stand before or between them, and are left out.
    """

    shown: tuple[str, ...] = ()
    n_left_out: int = 0


def first_genes(markers: pd.DataFrame, n: int) -> dict[Any, FirstGenes]:
    """Return the first genes of each cluster that has any."""
    first = short_list(markers)
    first = first[first["rank"] < n]
    passed = markers["rank"].loc[first.index] - first["rank"]
    groups = first.groupby("cluster", sort=False)
    return {
        cluster: FirstGenes(tuple(shown_genes(rows)), int(passed[rows.index].max()))
        for cluster, rows in groups
    }


def id_that_is_shown(var: pd.DataFrame) -> str | None:
    """Return the first name of a table of genes that are shown by ids, because it has no symbols; None of others."""
    genes = ListedGenes.of_var(var)
    return str(genes.names[0]) if genes.symbols is None and _are_ids(var.index) else None


def _shown(names: Iterable[str], symbols: Iterable[str] | None) -> list[str]:
    if symbols is None:
        return list(names)
    return [symbol or name for symbol, name in zip(symbols, names, strict=True)]


def texts_of(values: Any) -> NDArray[np.object_]:
    """Return values as texts, empty where they are missing."""
    import pandas as pd

    column = pd.Series(np.asarray(values, object))
    return np.where(column.isna(), "", column.astype(str)).astype(object)


def _within(names: NDArray[np.object_]) -> NDArray[np.object_] | None:
    """Return the symbols inside names of genes, if there are any."""
    symbols = np.array([symbol_in(name) for name in names], object)
    return symbols if (symbols != names).any() else None


def _are_ids(values: Any) -> bool:
    """Return whether most values are ids of a database, or numbers."""
    are_ids = [is_id(text) or _OTHER_ID.fullmatch(text) is not None for text in texts_of(values)]
    return 2 * sum(are_ids) > len(are_ids)
