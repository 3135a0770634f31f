"""The table of names in the report: how well each name fits, and the genes that speak for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scrcl.markers.listed import shown_genes
from scrcl.markers.names import SCORE_MEANING
from scrcl.report.page import Column, Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["shown_table"]

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
