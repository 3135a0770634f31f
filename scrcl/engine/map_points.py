"""What the maps of the report show: which cells, and where they lie. Their columns: `scrcl.engine.map_columns`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import drawn_rows, stream
from scrcl.engine.given_names import shown_names
from scrcl.engine.map_columns import columns_of
from scrcl.engine.map_images import images_of
from scrcl.engine.memory import block_values
from scrcl.engine.words import words_of
from scrcl.io.labels import files_of_cells
from scrcl.maps.artifacts import LAYOUT
from scrcl.markers.artifacts import MARKERS
from scrcl.markers.listed import shown_genes
from scrcl.prep.artifacts import STATS
from scrcl.report.maps import Maps, MarkerKind
from scrcl.report.slices import by_slice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.report import ReportSettings
    from scrcl.io.labels import CellLabels
    from scrcl.typing import IntArray

__all__ = ["bytes_of_maps", "drawn_cells", "maps_of", "maps_of_new_cells"]

LEAST_OF_CLUSTER = 50
"""Least number of cells of each cluster that are drawn."""

_MOST_BEHIND = 20_000
"""Cells of the run that are drawn behind new ones. More would not change the shape."""

_DRAWN_BYTES = 300
"""For each cell that is drawn: its columns, and what they are packed from."""

_BYTES_PER_VALUE = 30
"""A value of X while genes are taken out of a block."""

_MOST_SLICES = 200
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
    "next_cluster": ("next", "text"),
    "next_fold_change": ("log2 fold change over next", "number"),
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
    if not len(cells):
        return None
    labels, markers, words = run.labels, run.open(MARKERS), words_of(run)
    names = shown_names(run, labels)
    ids: list[tuple[str, MarkerKind]] = [("id", "text")] if "symbol" in markers else []
    shown_columns = [(words.cluster, "text"), *list(_MARKER_COLUMNS.values())[1:], *ids]
    return Maps(
        n_cells=len(labels),
        umap=np.asarray(run.open(LAYOUT)[cells]) if run.has(LAYOUT) else None,
        columns=columns_of(context, run, run, cells, obs),
        **_tissue(context, run, cells),
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
    """Return the maps of new cells: on the UMAP, with cells of the run behind them, or in their tissue.

    None if there is none.

    Parameters
    ----------
    new, run
        The prediction, and the run that it is from, whose clusters, names and genes the map has.
    obs
        Columns of the result.
    """
    labels, settings, seed = new.labels, context.config.report, context.config.seed
    is_spatial = context.config.spatial
    cells = drawn_cells(labels, settings.umap_cells, seed=seed)
    if not len(cells) or not (is_spatial or new.has(LAYOUT)):
        return None
    if is_spatial:
        places = {"umap": None, **_tissue(context, new, cells)}
    else:
        behind = drawn_rows(
            run.n_cells, min(settings.umap_cells, _MOST_BEHIND), seed, "report.behind"
        )
        places = {
            "umap": np.asarray(new.open(LAYOUT)[cells]),
            "behind": np.asarray(run.open(LAYOUT)[behind]),
            "n_run": run.n_cells,
        }
    return Maps(
        n_cells=len(labels),
        columns=columns_of(context, new, run, cells, obs),
        **places,
        least=LEAST_OF_CLUSTER,
        cell=words_of(run).cell,
    )


def _tissue(context: Context, run: OpenRun, cells: IntArray) -> dict[str, Any]:
    """Return fields of `Maps`: coordinates in the tissue, the slice of each cell, and images; none without a tissue."""
    from scrcl.io.coordinates import matched_coordinates

    rows = np.flatnonzero(run.open(STATS).retained)[cells]
    matrix, coordinates = context.matrix, context.covariates.named_coordinates
    is_named = coordinates is not None
    if coordinates is None:
        keys = [key for key in matrix.obsm if key == "spatial"]
        found = matched_coordinates(matrix.obsm, label=matrix.label, keys=keys)
        if not found:
            return {}
        coordinates = np.asarray(found["spatial"])
    shown = coordinates[rows]
    slices = by_slice(shown, _samples(context, rows))[:_MOST_SLICES]
    slice_of = np.full(len(rows), 255, np.int64)
    for i, (_, part) in enumerate(slices):
        slice_of[part] = i
    space, names = shown[:, :2], [name or "all" for name, _ in slices]
    # An image has its scale for the coordinates that lie beside it.
    images = () if is_named else images_of(context, rows, space, slice_of, names)
    return {"space": space, "slice_of": slice_of, "slices": names, "images": images}


def _samples(context: Context, rows: IntArray) -> CellLabels | None:
    """Return the slice of some cells: what ``sample_key`` names, or the file of each cell if there are several."""
    found = context.covariates.samples or files_of_cells(context.matrix)
    return None if found is None else found.of(rows)


def _markers(table: pd.DataFrame, names: Sequence[str]) -> list[list[Any]]:
    """Return the rows of the table of markers that the page has, with few digits."""
    n_clusters = max(int(table["cluster"].nunique()), 1)
    shown = table[table["rank"] < max(_MARKER_ROWS // n_clusters, 5)]
    columns: list[list[Any]] = []
    for name, (_, kind) in _MARKER_COLUMNS.items():
        if name in ("cluster", "next_cluster"):
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
