"""What the maps of the report show: which cells, where, and their columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import drawn_rows, stream
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.annotate import without_ours
from scrcl.engine.given_names import shown_names
from scrcl.engine.memory import block_values
from scrcl.engine.words import words_of
from scrcl.io.labels import CellLabels
from scrcl.maps.artifacts import LAYOUT
from scrcl.markers.artifacts import MARKERS, NAME_GENES
from scrcl.markers.listed import ListedGenes, short_list, shown_genes
from scrcl.prep.artifacts import STATS
from scrcl.report.maps import Maps, MarkerKind, category_column, column_of, number_column
from scrcl.report.slices import by_slice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.report import ReportSettings
    from scrcl.report.maps import MapColumn
    from scrcl.typing import FloatArray, IntArray

__all__ = ["bytes_of_maps", "drawn_cells", "maps_of", "maps_of_new_cells"]

LEAST_OF_CLUSTER = 50
"""Cells of each cluster that are drawn at least."""

_MOST_BEHIND = 20_000
"""Cells of the run that are drawn behind new ones. More would show no other shape."""

_DRAWN_BYTES = 300
"""For each cell that is drawn: its columns, and what they are packed from."""

_BYTES_PER_VALUE = 30
"""A value of X while genes are taken out of a block."""

_MOST_CLUSTERS, _MOST_SLICES, _MOST_COLUMNS = 200, 200, 40
_MARKER_ROWS = 8_000
"""Rows of the table of markers in the page."""

_MARKER_COLUMNS: dict[str, tuple[str, MarkerKind]] = {
    "cluster": ("cluster", "text"),
    "gene": ("gene", "text"),
    "score": ("score", "score"),
    "log_fold_change": ("log2 fold change", "number"),
    "auc": ("AUC", "number"),
    "p_adjusted": ("adjusted p", "p"),
    "share_in": ("share in", "number"),
    "share_out": ("share out", "number"),
    "kind": ("kind", "text"),
}
"""Columns of the table of markers that the page has: their headings, and how they are shown."""


def bytes_of_maps(shape: Shape, settings: ReportSettings) -> tuple[int, int]:
    """Return the memory of the cells that are drawn, and of the blocks of X that genes are taken out of."""
    n_genes = max(settings.map_genes, len(settings.named_genes()))
    drawn = min(shape.n_cells, settings.umap_cells)
    return drawn * (_DRAWN_BYTES + 12 * n_genes), int(block_values(shape) * _BYTES_PER_VALUE)


def drawn_cells(labels: IntArray, n_most: int, *, seed: int) -> IntArray:
    """Return the cells to draw, ascending: at random, and `LEAST_OF_CLUSTER` of each cluster where it has them."""
    if n_most == 0:
        return np.zeros(0, np.int64)
    chosen = drawn_rows(len(labels), n_most, seed, "report.sample")
    if len(chosen) == len(labels):
        return chosen
    there = np.bincount(labels[chosen], minlength=int(labels.max()) + 1)
    more = [chosen]
    for cluster in np.flatnonzero(there < LEAST_OF_CLUSTER):
        cells = np.setdiff1d(np.flatnonzero(labels == cluster), chosen)
        n = min(LEAST_OF_CLUSTER - int(there[cluster]), len(cells))
        more.append(stream(seed, "report.rare", int(cluster)).choice(cells, n, replace=False))
    return np.sort(np.concatenate(more))


def maps_of(context: Context, run: OpenRun, cells: IntArray, obs: Mapping[str, Any]) -> Maps | None:
    """Return the maps of the cells that are drawn; None if there are none. ``obs`` are the columns of the result."""
    labels = np.asarray(run.open(LABELS))
    names = shown_names(run, labels)
    rows = np.flatnonzero(run.open(STATS).retained)[cells]
    if not len(cells):
        return None
    space, slice_of, slices = _space(context, rows)
    markers = run.open(MARKERS)
    ids: list[tuple[str, MarkerKind]] = [("id", "text")] if "symbol" in markers else []
    words = words_of(run)
    word = words.cluster
    shown_columns = [(word, "text"), *list(_MARKER_COLUMNS.values())[1:], *ids]
    columns = [
        *_cluster_columns(obs, labels, cells, (word, names)),
        *_number_columns(obs, cells),
        *_quality_columns(run, rows),
        *_obs_columns(context, rows),
        *_gene_columns(context, run, run, rows),
    ]
    return Maps(
        n_cells=len(labels),
        umap=np.asarray(run.open(LAYOUT)[cells]) if run.has(LAYOUT) else None,
        columns=columns,
        space=space,
        slice_of=slice_of,
        slices=slices,
        markers=_markers(markers, names),
        marker_columns=[heading for heading, _ in shown_columns],
        marker_kinds=[kind for _, kind in shown_columns],
        cluster_names=names,
        least=LEAST_OF_CLUSTER,
        cell=words.cell,
    )


def maps_of_new_cells(
    context: Context, new: OpenRun, run: OpenRun, obs: Mapping[str, Any]
) -> Maps | None:
    """Return the map of new cells, with cells of the run behind them; None if there is none.

    Parameters
    ----------
    new, run
        The prediction, and the run that it is from, whose clusters, names and genes the map has.
    obs
        Columns of the result.
    """
    labels, settings, seed = new.open(LABELS), context.config.report, context.config.seed
    cells = drawn_cells(np.asarray(labels), settings.umap_cells, seed=seed)
    if not len(cells) or not new.has(LAYOUT):
        return None
    rows = np.flatnonzero(new.open(STATS).retained)[cells]
    n_behind = min(settings.umap_cells, _MOST_BEHIND)
    behind = drawn_rows(run.n_cells, n_behind, seed, "report.behind")
    named = words_of(run).cluster, shown_names(run, run.labels)
    return Maps(
        n_cells=len(labels),
        umap=np.asarray(new.open(LAYOUT)[cells]),
        columns=[
            *_cluster_columns(obs, np.asarray(labels), cells, named),
            *_number_columns(obs, cells),
            *_quality_columns(new, rows),
            *_obs_columns(context, rows),
            *_gene_columns(context, new, run, rows),
        ],
        least=LEAST_OF_CLUSTER,
        behind=np.asarray(run.open(LAYOUT)[behind]),
        n_run=run.n_cells,
    )


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
        n_workers=context.budget.n_workers,
        on_rows=context.count("report", matrix.n_obs),
        client=context.client,
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


def _space(
    context: Context, rows: IntArray
) -> tuple[FloatArray | None, IntArray | None, list[str]]:
    """Return coordinates of the cells in the tissue, and the slice of each."""
    from scrcl.io.coordinates import matched_coordinates

    matrix, coordinates = context.matrix, context.covariates.named_coordinates
    if coordinates is None:
        keys = [key for key in matrix.obsm if key == "spatial"]
        found = matched_coordinates(matrix.obsm, label=matrix.label, keys=keys)
        if not found:
            return None, None, []
        coordinates = np.asarray(found["spatial"])
    shown = coordinates[rows]
    slices = by_slice(shown, _samples(context, rows))[:_MOST_SLICES]
    slice_of = np.full(len(rows), 255, np.int64)
    for i, (_, part) in enumerate(slices):
        slice_of[part] = i
    return shown[:, :2], slice_of, [name or "all" for name, _ in slices]


def _samples(context: Context, rows: IntArray) -> CellLabels | None:
    """Return the slice of some cells: what ``sample_key`` names, or the file of each cell if there are several."""
    import pandas as pd

    if context.covariates.samples is not None:
        return context.covariates.samples.of(rows)
    if "samples" not in context.matrix.identity:
        return None
    column = pd.Categorical(context.matrix.obs["sample"])
    return CellLabels(column.codes.astype(np.int32), tuple(map(str, column.categories))).of(rows)


def _markers(table: pd.DataFrame, names: Sequence[str]) -> list[list[Any]]:
    """Return the rows of the table of markers that the page has, with few digits."""
    n_clusters = max(int(table["cluster"].nunique()), 1)
    shown = table[table["rank"] < max(_MARKER_ROWS // n_clusters, 5)]
    columns: list[list[Any]] = []
    for name, (_, kind) in _MARKER_COLUMNS.items():
        if name == "cluster":
            columns.append([names[int(cluster)] for cluster in shown[name]])
        elif name == "gene":
            columns.append(shown_genes(shown))
        elif kind == "text":
            columns.append(list(shown[name]))
        else:
            # Spreadsheets and JSON have no infinity.
            values, digits = np.nan_to_num(shown[name]), ".1f" if kind == "score" else ".3g"
            columns.append([float(f"{value:{digits}}") for value in values])
    if "symbol" in shown:
        columns.append(list(shown["gene"]))
    return [list(row) for row in zip(*columns, strict=True)]
