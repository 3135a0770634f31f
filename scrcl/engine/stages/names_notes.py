"""Names of clusters in words: notes on what to look at and to give, and the table of the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scrcl.markers.listed import shown_genes
from scrcl.markers.names import SCORE_MEANING, gene_names
from scrcl.report.page import Column, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pandas as pd

    from scrcl.engine.config import RunConfig
    from scrcl.markers.names import GeneNames, Name
    from scrcl.markers.tables import MarkerSet

__all__ = ["notes_of_genes", "notes_of_lost", "notes_of_mixed", "notes_of_tissues", "shown_table"]

_FEW = 0.3
"""Share of the table's genes in the data below which a note says so."""

_PANEL = 5_000
"""Genes below which the data is a panel, or a selection of genes."""

_MOST_TISSUES = 20
"""Tissues of a table that a note lists."""

_MOST_MIXED = 5
"""Clusters that may hold several types that a note lists."""

_KINDS: dict[str, Literal["score", "share", "markers"]] = {
    "score": "score", "second_score": "score", "gap": "score", "precision": "share", "recall": "share",
    "genes": "markers",
}  # fmt: skip

_SHOWN_GENES = 6
"""Genes of each name in the report."""

_CAPTION = (
    f"{SCORE_MEANING} A small gap means that the second name fits nearly as well. Precision: share of the cluster's "
    "first ten markers that the table lists for the best name. Recall: of the genes that the table lists for the best "
    "name, and that are in the data, the share among the listed markers of the cluster. Genes: those of the table that "
    "add most to the score."
)


def notes_of_lost(names: Sequence[str]) -> Iterator[str]:
    """Yield which given names no cluster has now."""
    if not names:
        return
    several = len(names) > 1
    yield (
        f"Given name{'s' if several else ''} that no cluster has now: {'; '.join(names)}. No cluster holds most of the "
        f"cells that had {'them' if several else 'it'}, and few others. Name clusters again by `scrcl.rename`."
    )


def notes_of_tissues(config: RunConfig, sets: Sequence[MarkerSet]) -> Iterator[str]:
    """Yield that tissues can be named, where the table has several."""
    tissues = sorted({tissue for each in sets for tissue in each.tissues})
    if config.names.tissues is not None or len(tissues) < 2:
        return
    shown = ", ".join(tissues[:_MOST_TISSUES]) + (", ..." if len(tissues) > _MOST_TISSUES else "")
    yield (
        f"Names come from all {len(tissues)} tissues of the table of markers ({shown}). Name those that the cells are "
        f"from, such as `names.tissues={tissues[0]!r}`: a type of another tissue can look like one of theirs."
    )


def notes_of_genes(
    config: RunConfig, var: pd.DataFrame, sets: Sequence[MarkerSet], found: GeneNames
) -> Iterator[str]:
    """Yield where genes of the table were found, and whether that is in doubt."""
    if found.column is not None:
        yield (f"Genes of the table of markers were found in the column {found.column!r} of var.")
    if found.any_case:
        yield (
            f"Genes of the table of markers were found only without regard to case. {_of_species(config, var, sets)}"
        )
    share = len(found.position) / found.n_wanted
    if share < _FEW:
        share = max([share, *_shares_by_species(config, var, sets)])
    if share < _FEW:
        note = (
            f"Only {share:.0%} of the genes of {Path(str(config.names.table)).name} are in the data"
        )
        if len(var) < _PANEL and not found.any_case:
            yield (
                f"{note}, which has {len(var):,} genes, so types can look alike in what is left. A file with all genes "
                "that were measured gives surer names."
            )
        else:
            yield (
                f"{note}, so names may be wrong. Check its species, and whether var has a column of symbols."
            )


def _shares_by_species(
    config: RunConfig, var: pd.DataFrame, sets: Sequence[MarkerSet]
) -> Iterator[float]:
    """Yield the share of the genes of each species of the table: cells have those of one."""
    there = sorted({species for each in sets for species in each.species})
    for name in there if len(there) > 1 else ():
        found = gene_names(var, config.names.model_copy(update={"species": name}).sets())
        if not found.any_case:  # genes of the other species differ in case alone
            yield len(found.position) / max(found.n_wanted, 1)


def _of_species(config: RunConfig, var: pd.DataFrame, sets: Sequence[MarkerSet]) -> str:
    """Return which rows of a table to take for genes that are written as those of another species."""
    there = sorted({species for each in sets for species in each.species})
    alone = {
        name: config.names.model_copy(update={"species": name, "tissues": None}) for name in there
    }
    found = {name: gene_names(var, names.sets()) for name, names in alone.items()}
    as_written = [name for name in there if not found[name].any_case]
    if len(there) < 2 or not as_written:
        return "If the table is of another species, names may be wrong: choose one of the species of your cells."
    best = max(as_written, key=lambda name: len(found[name].position))
    return f"The table has rows for {' and '.join(there)}: give `names.species={best!r}`."


def notes_of_mixed(names: Sequence[Name], given: Collection[int]) -> Iterator[str]:
    """Yield which clusters may hold several types: another one fits nearly as well, by other genes.

    Parameters
    ----------
    given
        Clusters that the user named, which are clear.
    """
    mixed = [(i, each) for i, each in enumerate(names) if each.may_be_mixed and i not in given]
    if not mixed:
        return
    listed = [
        f"{i} {each.name} ({each.score:.1f}; {each.second} {each.second_score:.1f})"
        for i, each in mixed[:_MOST_MIXED]
    ]
    more = f"; and {len(mixed) - _MOST_MIXED:,} others" if len(mixed) > _MOST_MIXED else ""
    yield (
        "May hold several types, as a second one scores nearly as much, by other genes: "
        f"{'; '.join(listed)}{more}. Look closer by `scrcl.subcluster`."
    )


def shown_table(names: pd.DataFrame, genes: pd.DataFrame) -> Table:
    """Return the table of names as the report shows it, with the first genes of each name if there are any."""
    table = _with_genes(names, genes)
    columns = [Column(name.replace("_", " "), _KINDS.get(name, "text")) for name in map(str, table)]
    rows = [
        [None if isinstance(value, str) and not value else value for value in row]
        for row in table.to_numpy(object)
    ]
    return Table(columns, rows, _CAPTION)


def _with_genes(table: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    """Return the table of names with the first genes that speak for each, if there are any."""
    first = genes[genes["rank"] < _SHOWN_GENES]
    if not len(first):
        return table
    found = {cluster: tuple(shown_genes(rows)) for cluster, rows in first.groupby("cluster")}
    return table.assign(genes=table["cluster"].map(lambda cluster: found.get(cluster, ())))
