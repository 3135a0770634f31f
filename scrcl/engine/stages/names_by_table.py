"""Names of clusters from a table of marker genes: the sets whose genes a cluster expresses most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.stages.names_notes import notes_of_genes, notes_of_mixed, notes_of_tissues
from scrcl.errors import InputError
from scrcl.markers.artifacts import MARKERS, PROFILES
from scrcl.markers.listed import ListedGenes
from scrcl.markers.names import UNKNOWN, gene_names, name_clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.markers.names import GeneNames
    from scrcl.markers.tables import MarkerSet

__all__ = ["genes_table", "names_by_table", "sets_and_genes"]


def sets_and_genes(
    var: pd.DataFrame, config: RunConfig, label: str
) -> tuple[list[MarkerSet], GeneNames]:
    """Return the sets of the table, and where their genes are.

    Raises
    ------
    InputError
        The table cannot be read, or none of its genes is in the data.
    """
    sets = config.names.sets()
    found = gene_names(var, sets)
    if not found.position:
        examples = ", ".join(sets[0].genes[:3])
        message = (
            f"names.table must list genes of the input; {config.names.table} lists {examples} ..., and {label} has "
            f"{', '.join(map(str, var.index[:3]))} ... Add a column of var with gene symbols, or another table."
        )
        raise InputError(message)
    return sets, found


def names_by_table(
    context: Context,
    table: pd.DataFrame,
    sets: list[MarkerSet],
    found: GeneNames,
    given: Collection[int],
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the table with the names of the sets that fit best, the genes that speak for them, and notes."""
    position = {str(gene): i for i, gene in enumerate(context.matrix.var.index)}
    markers = context.open(MARKERS)
    of_clusters = [
        [position[gene] for gene in markers["gene"][markers["cluster"] == cluster]]
        for cluster in table["cluster"]
    ]
    names = name_clusters(
        context.open(PROFILES),
        sets,
        found,
        min_score=context.config.names.min_score,
        markers=of_clusters,
    )
    var = context.matrix.var
    notes = [
        *notes_of_mixed(names, given),
        *notes_of_genes(context.config, var, sets, found),
        *notes_of_tissues(context.config, sets),
    ]
    if not names:
        table["name"] = UNKNOWN
        notes.append("No cell type of the table of markers has three genes in the data.")
        return table, genes_table(var, []), notes
    table["name"], table["by"] = [name.name for name in names], "table"
    for column in ("best", "score", "second", "second_score"):
        table[column] = [getattr(name, column) for name in names]
    table["gap"] = table["score"] - table["second_score"]
    table["precision"] = [name.precision for name in names]
    table["recall"] = [name.recall for name in names]
    genes = [() if name.name == UNKNOWN else name.genes for name in names]
    return table, genes_table(var, genes), notes


def genes_table(var: pd.DataFrame, of_clusters: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Return the genes of each cluster, by their positions in var, as a table."""
    import pandas as pd

    rows = [
        (cluster, rank, gene)
        for cluster, genes in enumerate(of_clusters)
        for rank, gene in enumerate(genes)
    ]
    clusters, ranks, positions = np.array(rows, np.int64).reshape(-1, 3).T
    listed = ListedGenes.of_var(var).at(positions)
    return pd.DataFrame({"cluster": clusters, "rank": ranks, **listed.columns()})
