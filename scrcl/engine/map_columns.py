"""The columns by which the maps of the report can be coloured: clusters, numbers, columns of the input, and genes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.cluster.artifacts import LABELS
from scrcl.engine.annotate import without_ours
from scrcl.engine.given_names import shown_names
from scrcl.engine.words import words_of
from scrcl.markers.artifacts import MARKERS, NAME_GENES
from scrcl.markers.listed import ListedGenes, short_list
from scrcl.prep.artifacts import STATS
from scrcl.report.maps import category_column, column_of, number_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.report.maps import MapColumn
    from scrcl.typing import IntArray

__all__ = ["columns_of"]

_MOST_CLUSTERS, _MOST_COLUMNS = 200, 40


def columns_of(
    context: Context, run: OpenRun, named: OpenRun, cells: IntArray, obs: Mapping[str, Any]
) -> list[MapColumn]:
    """Return the columns of the cells that are drawn.

    Parameters
    ----------
    run
        The run or the prediction that the cells are of.
    named
        The run whose names of clusters and marker genes are shown: of a prediction, the one that it is from.
    cells
        ndarray of int, shape (n_drawn,): positions among the retained cells.
    obs
        Columns of the result.
    """
    rows = np.flatnonzero(run.open(STATS).retained)[cells]
    names = words_of(named).cluster, shown_names(named, named.labels)
    return [
        *_cluster_columns(obs, np.asarray(run.open(LABELS)), cells, names),
        *_number_columns(obs, cells),
        *_quality_columns(run, rows),
        *_obs_columns(context, rows),
        *_gene_columns(context, run, named, rows),
    ]


def _cluster_columns(
    obs: Mapping[str, Any], labels: IntArray, cells: IntArray, named: tuple[str, Sequence[str]]
) -> list[MapColumn]:
    """Return the clusters, by their word and names, and every other clustering of the run."""
    import pandas as pd

    shown = np.where(labels < _MOST_CLUSTERS, labels, -1)[cells]
    word, names = named
    columns = [category_column(word, shown, names[:_MOST_CLUSTERS], "Clusters")]
    for key, values in obs.items():
        if key != "scrcl" and isinstance(values, pd.Categorical):
            levels = [str(level) for level in values.categories]
            codes = np.asarray(values.codes, np.int64)[cells]
            codes = np.where(codes < _MOST_CLUSTERS, codes, -1)
            columns.append(category_column(key, codes, levels[:_MOST_CLUSTERS], "Clusters"))
    return columns


def _number_columns(obs: Mapping[str, Any], cells: IntArray) -> list[MapColumn]:
    """Return the numbers that the run found for each cell: the confidence, and pseudotime; all of them 0 to 1."""
    return [
        number_column(key.removeprefix("scrcl_"), np.asarray(values)[cells], "Cells", (0, 1))
        for key, values in obs.items()
        if isinstance(values, np.ndarray)
    ]


def _quality_columns(run: OpenRun, rows: IntArray) -> list[MapColumn]:
    """Return what shows whether a cell is a good one: counts, genes, and the mitochondrial share if it is known."""
    stats = run.open(STATS)
    found = [number_column("genes detected", stats.cell_genes[rows].astype(float), "Cells")]
    if not stats.already_log:
        counts = np.log10(np.maximum(stats.cell_counts[rows], 1))
        found.insert(0, number_column("counts (log10)", counts, "Cells"))
    if stats.cell_mito.any():
        found.append(number_column("mitochondrial share", stats.cell_mito[rows], "Cells"))
    return found


def _obs_columns(context: Context, rows: IntArray) -> list[MapColumn]:
    """Return the columns of the input that can be shown, batches first."""
    obs = without_ours(context.matrix.obs, context.stages)
    batch = [part for part in (context.config.batch_key or "").split(",") if part in obs]
    order = dict.fromkeys([*batch, *obs])
    found = (column_of(str(name), obs[name].iloc[rows]) for name in order)
    shown = [column for column in found if column is not None][:_MOST_COLUMNS]
    return [replace(column, has_places=column.name not in batch) for column in shown]


def _gene_columns(
    context: Context, run: OpenRun, marked: OpenRun, rows: IntArray
) -> list[MapColumn]:
    """Return the log values of genes, from one more read of X. They are markers of ``marked``."""
    from scrcl.markers.expression import expression_of

    genes = ListedGenes.of_var(context.matrix.var)
    at = _drawn_genes(context, marked, genes)
    if not len(at):
        return []
    stats, matrix = run.open(STATS), context.matrix
    rows_of = matrix.rows if stats.is_canonical else matrix.x
    values = expression_of(
        rows_of(context.budget.block_rows),
        rows,
        at,
        cell_sums=None if stats.already_log else stats.cell_counts,
        reading=context.reading("report"),
    )
    names, shown = genes.names[at], genes.at(at).shown()
    twice = Counter(shown)
    columns = [
        number_column(
            text if twice[text] == 1 else f"{text} ({name})", column, "Genes", also=str(name)
        )
        for text, name, column in zip(shown, names, values.T, strict=True)
    ]
    return sorted(columns, key=lambda column: column.name.lower())


def _drawn_genes(context: Context, run: OpenRun, genes: ListedGenes) -> IntArray:
    """Return the positions of the genes by which maps can be coloured: those of ``report.genes``, then others.

    The others are the first markers of all clusters and the genes that speak most for their names, then the second
    ones, and so on, up to ``report.map_genes``.
    """
    import pandas as pd

    settings = context.config.report
    tables = [short_list(run.open(MARKERS))]
    if run.has(NAME_GENES):
        tables.append(run.open(NAME_GENES))
    listed = pd.concat(tables).sort_values(["rank", "cluster"], kind="stable")["gene"]
    # pandas finds names faster than a dict does, and no table has a gene twice.
    found = pd.Index(genes.names).get_indexer(pd.Index(listed.unique()[: settings.map_genes]))
    found = found[found >= 0]  # new cells may lack some
    both = dict.fromkeys([*genes.positions(settings.named_genes()).values(), *found.tolist()])
    return np.array(list(both), np.int64)[: max(settings.map_genes, len(settings.named_genes()))]
