"""Stage ``report``: the result as AnnData, and the page.

The page and the result are made of what the stages give: `Stage.section` and `Stage.keys`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Settings
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.learning import embedding_width, estimates_of
from scrcl.engine.memory import (
    ANNOTATION_BYTES,
    LIBRARIES_BYTES,
    MORE_NEIGHBORS,
)
from scrcl.engine.results import write_page, write_result_of
from scrcl.engine.row_order import ORDER, write_order
from scrcl.engine.stage import AnnDataKeys, Fields, Record, Stage
from scrcl.engine.stages.batches import BatchesStage
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.embed import EMBEDDING
from scrcl.graph.artifacts import PARTITION
from scrcl.io.labels import CellLabels
from scrcl.markers.artifacts import MARKERS
from scrcl.prep.artifacts import STATS
from scrcl.report.colours import palette
from scrcl.report.page import Column, Figure, Section, Table
from scrcl.report.slices import MAX_PICTURES, by_slice

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.report_new_cells import NewReportStage
    from scrcl.typing import FloatArray, IntArray

__all__ = ["ReportSettings", "ReportStage"]

_NODE_BYTES = 28
"""For each cell while its edges are written: row starts and degrees."""

_PAIR_BLOCK_BYTES = 90 * 10**6
"""Edges and distances in memory while they are written into the result; measured."""


class ReportSettings(Settings):
    """What the report shows."""

    umap_cells: int = Field(5000, ge=0, description="Number of cells in the UMAP figure.")
    n_markers: int = Field(10, ge=1, description="Number of marker genes shown for each cluster.")


class ClusterRow(Fields):
    """A cluster: its cells, median confidence and marker genes."""

    n_cells: int
    name: str
    share: float
    confidence: float
    n_low_confidence: int
    batch_entropy: float | None = None
    markers: tuple[str, ...]


class ReportRecord(Record):
    """Where the result is, and the clusters."""

    result: str
    clusters: tuple[ClusterRow, ...]


class ReportStage(Stage[ReportRecord]):
    """Writes the result and the page."""

    name = "report"
    settings = ReportSettings
    record = ReportRecord
    takes = (STATS, PARTITION, EMBEDDING, LABELS, MARKERS)
    redo_settings: ClassVar[tuple[str, ...]] = ("report", "format", "keep_x")

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the annotations and arrays of the result, and blocks of edges."""
        n, k = shape.n_cells, shape.n_neighbors
        edges, cuts = MORE_NEIGHBORS * k, len(config.cluster.also)
        of_method = estimates_of(shape, config)
        embeddings = of_method.new_cells.disk_bytes // n + 4 * shape.n_comps
        return Estimate(
            LIBRARIES_BYTES + n * (ANNOTATION_BYTES + embeddings + _NODE_BYTES + 8 + 8 * cuts),
            of_method.embed.block_bytes + min(_PAIR_BLOCK_BYTES, 40 * n * k),
            disk_bytes=int(n * (embeddings + 12 * (k + edges) + 20 + 4 * cuts)),
            read_bytes=4 * n * embedding_width(config),
            seconds=20 + 5e-6 * n,
        )

    def run(self, context: Context, folder: Path) -> ReportRecord:
        """Write ``order.npz`` into the folder, and the result and ``report.html`` into OUT."""
        from scrcl.engine.open_run import OpenRun

        run = OpenRun(context.folder, context.stages, context.config)
        labels = np.asarray(context.open(LABELS))
        markers = _shown(context.open(MARKERS), context.config.report.n_markers)
        rows = _rows(labels, markers, run)
        result = write_result_of(context, run, AnnDataKeys())
        retained = np.flatnonzero(context.open(STATS).retained)
        near_together = retained[context.open(PARTITION).order]
        write_order(folder / ORDER, near_together, context.matrix.obs.index)
        cells, notes = _cells_section(context, run, labels)
        write_page(
            context,
            run,
            [replace(cells, notes=notes), _clusters_section(rows)],
        )
        return ReportRecord(
            n_cells=len(labels), files=(result, "report.html"), result=result, clusters=rows
        )

    def headline(self, record: ReportRecord) -> dict[str, str]:
        """Return the file of the result."""
        return {"result": record.result}

    def for_new_cells(self, run: OpenRun) -> NewReportStage:
        """Return the stage that writes the result and page of a prediction."""
        from scrcl.engine.stages.report_new_cells import NewReportStage

        return NewReportStage(run)


def _shown(table: pd.DataFrame, n_markers: int) -> dict[int, tuple[str, ...]]:
    """Return the first markers of each cluster."""
    shown = table[table["rank"] < n_markers]
    return {
        int(cluster): tuple(shown["gene"][shown["cluster"] == cluster])
        for cluster in shown["cluster"].unique()
    }


def _rows(
    labels: IntArray, markers: dict[int, tuple[str, ...]], run: OpenRun
) -> tuple[ClusterRow, ...]:
    record = run.record(ClusterStage)
    sizes = np.bincount(labels)
    sure = record.confidence
    batches = run.record(BatchesStage).batches
    entropy = None if batches is None else batches.entropy
    return tuple(
        ClusterRow(
            name=str(i),
            n_cells=int(size),
            share=float(size / len(labels)),
            confidence=sure.median_by_cluster[i],
            n_low_confidence=sure.low_by_cluster[i],
            batch_entropy=None if entropy is None else entropy[i],
            markers=markers.get(i, ()),
        )
        for i, size in enumerate(sizes)
    )


def _cells_section(
    context: Context, run: OpenRun, labels: IntArray
) -> tuple[Section, tuple[str, ...]]:
    """Return maps of the cells, and a note where they show only some of them."""
    from scrcl.report.figures import scatter
    from scrcl.report.umap import subset_of_cells, umap_layout

    config, n_clusters = context.config, int(labels.max()) + 1
    names, figures, n_slices = [str(i) for i in range(n_clusters)], [], 0
    cells = subset_of_cells(len(labels), config.report.umap_cells, seed=config.seed)
    if len(cells) > 3:  # fewer cells have no neighbour graph to lay out
        points = np.asarray(run.open(EMBEDDING)[cells])
        drawn = scatter(umap_layout(points, seed=config.seed), labels[cells], names)
        figures.append(Figure(drawn, "UMAP of the embedding, coloured by cluster", "png"))
    places = _places(context) if len(cells) else None
    if places is not None:
        rows = np.flatnonzero(run.open(STATS).retained)[cells]
        where = places[rows]
        slices = by_slice(where, _samples(context, rows))
        for name, part in slices[:MAX_PICTURES]:
            drawn = scatter(where[part, :2], labels[cells[part]], names, equal=True)
            title = f"Cells in space, {name}" if name else "Cells in space"
            figures.append(Figure(drawn, f"{title}, coloured by cluster", "png"))
        n_slices = len(slices)
    shown, n_cells, notes = len(cells), len(labels), []
    if 0 < shown < n_cells:
        notes.append(f"The pictures show {shown:,} of {n_cells:,} cells, drawn uniformly.")
    if n_slices > MAX_PICTURES:
        notes.append(f"Only the first {MAX_PICTURES} of {n_slices} slices have a picture.")
    return Section("Cells", figures=figures), tuple(notes)


def _places(context: Context) -> FloatArray | None:
    """Return the coordinates of all cells to draw; None if there are none that fit the cells."""
    from scrcl.io.coordinates import matched_coordinates

    matrix = context.matrix
    keys = [key for key in matrix.obsm if key == "spatial"]
    found = matched_coordinates(matrix.obsm, label=matrix.label, keys=keys)
    return np.asarray(found["spatial"]) if found else None


def _samples(context: Context, rows: IntArray) -> CellLabels | None:
    """Return the slice of some cells: what ``sample_key`` names, or the file of each cell if there are several."""
    import pandas as pd

    if context.covariates.samples is not None:
        return context.covariates.samples.of(rows)
    if "samples" not in context.matrix.identity:
        return None
    column = pd.Categorical(context.matrix.obs["sample"])
    return CellLabels(column.codes.astype(np.int32), tuple(map(str, column.categories))).of(rows)


def _clusters_section(rows: tuple[ClusterRow, ...]) -> Section:
    has_batches = rows[0].batch_entropy is not None
    columns = [
        Column("cluster", "label"),
        Column("cells", "number"),
        Column("share", "share"),
        Column("", "bar"),
        Column("confidence (median)", "number"),
        Column("low-confidence cells", "number"),
        *([Column("batch entropy", "number")] if has_batches else []),
        Column("markers", "markers"),
    ]
    table = Table(
        columns,
        [
            [
                row.name, row.n_cells, row.share, row.share, row.confidence, row.n_low_confidence,
                *([row.batch_entropy] if has_batches else []), row.markers,
            ]
            for row in rows
        ],
        colours=palette(len(rows)),
    )  # fmt: skip
    return Section("Clusters", table=table)
