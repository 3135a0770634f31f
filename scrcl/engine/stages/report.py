"""Stage ``report``: the result as AnnData, and the page.

The page and the result are made of what the stages give: `Stage.section` and `Stage.keys`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Settings
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.annotate import merged_keys
from scrcl.engine.given_names import shown_names
from scrcl.engine.learning import embedding_width, estimates_of
from scrcl.engine.map_points import bytes_of_maps, drawn_cells, maps_of
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES, MORE_NEIGHBORS
from scrcl.engine.report_sections import cluster_sections, summary_of
from scrcl.engine.results import keys_of_input, write_page, write_result_of
from scrcl.engine.row_order import ORDER, write_order
from scrcl.engine.stage import Fields, Record, Stage
from scrcl.engine.stages.batches import BatchesStage
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.errors import InputError
from scrcl.graph.artifacts import PARTITION
from scrcl.markers.artifacts import MARKERS, NAMES
from scrcl.markers.listed import FirstGenes, ListedGenes, first_genes
from scrcl.markers.names import UNKNOWN
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Section
from scrcl.report.pictures import picture_notes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.report_new_cells import NewReportStage
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["ReportSettings", "ReportStage"]

_NODE_BYTES = 28
"""For each cell while its edges are written: row starts and degrees."""

_WRITTEN_BYTES = 30
"""For each cell while its columns are written. Embeddings are written block by block. Measured: 1.14 GB for a million
cells, 1.88 GB for three million (``bench.scale``)."""

_PAIR_BLOCK_BYTES = 90 * 10**6
"""Edges and distances in memory while they are written into the result; measured."""


class ReportSettings(Settings):
    """What the report shows."""

    several: ClassVar[frozenset[str]] = frozenset({"genes"})
    umap_cells: int = Field(
        100_000, ge=0, description="Number of cells in the maps of the report; 0 draws none."
    )
    map_genes: int = Field(
        60,
        ge=0,
        description="Number of genes by which the maps can be coloured: markers of all clusters, and genes that "
        "speak for their names.",
    )
    genes: str | None = Field(
        None,
        description="Genes by which the maps can be coloured in any case, with commas: names or symbols.",
    )
    n_markers: int = Field(10, ge=1, description="Number of marker genes shown for each cluster.")

    def named_genes(self) -> list[str]:
        """Return the names in ``genes``."""
        return [part.strip() for part in (self.genes or "").split(",") if part.strip()]


class ClusterRow(Fields):
    """A cluster: its number as a name, cells, median confidence, cell type if it is named, and marker genes.

    Attributes
    ----------
    second_type, gap
        The second best name by a table of markers, and how far its score lies below the best.
    markers, n_left_out
        The first marker genes, by their symbols where they are known, and how many ribosomal and mitochondrial genes
        among them are left out.
    """

    n_cells: int
    name: str
    share: float
    confidence: float
    n_low_confidence: int
    batch_entropy: float | None = None
    cell_type: str | None = None
    second_type: str | None = None
    gap: float | None = None
    markers: tuple[str, ...]
    n_left_out: int = 0


class ReportRecord(Record):
    """Where the result is, and the clusters."""

    result: str
    clusters: tuple[ClusterRow, ...]


class ReportStage(Stage[ReportRecord]):
    """Writes the result and the page."""

    name = "report"
    settings = ReportSettings
    record = ReportRecord
    redo_settings = ("report", "format", "keep_x")

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse genes for the maps that are not in the input."""
        wanted = config.report.named_genes()
        found = ListedGenes.of_var(header.var).positions(wanted) if wanted else {}
        missing = [name for name in wanted if name not in found]
        if missing:
            message = (
                f"report.genes must name genes of the input; got {', '.join(missing)}. {header.label} has "
                f"{', '.join(map(str, header.var.index[:3]))} ... Upper and lower case count."
            )
            raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the annotations and arrays of the result, and blocks of edges."""
        n, k = shape.n_cells, shape.n_neighbors
        edges, cuts = MORE_NEIGHBORS * k, len(config.cluster.also)
        of_method = estimates_of(shape, config)
        embeddings = of_method.new_cells.disk_bytes // n + 4 * shape.n_comps
        maps, of_genes = bytes_of_maps(shape, config.report)
        blocks = max(min(_PAIR_BLOCK_BYTES, 40 * n * k), of_genes)
        return Estimate(
            LIBRARIES_BYTES
            + n * (ANNOTATION_BYTES + _NODE_BYTES + _WRITTEN_BYTES + 8 * cuts)
            + maps,
            of_method.embed.block_bytes + blocks,
            disk_bytes=int(n * (embeddings + 12 * (k + edges) + 20 + 4 * cuts)),
            read_bytes=4 * n * embedding_width(config) + shape.input_bytes,
            seconds=1 + 8e-6 * n,
        )

    def run(self, context: Context, folder: Path) -> ReportRecord:
        """Write ``order.npz`` into the folder, and the result and ``report.html`` into OUT."""
        from scrcl.engine.methods_text import methods_section
        from scrcl.engine.open_run import OpenRun

        run = OpenRun(context.folder, context.stages, context.config)
        labels = np.asarray(context.open(LABELS))
        rows = _rows(labels, context.open(MARKERS), run)
        keys = merged_keys(run, run.finished, keys_of_input(context.matrix, context.config))
        result = write_result_of(context, keys)
        retained = np.flatnonzero(context.open(STATS).retained)
        near_together = retained[context.open(PARTITION).order]
        write_order(folder / ORDER, near_together, context.matrix.obs.index)
        names = shown_names(run, labels)
        cells = drawn_cells(labels, context.config.report.umap_cells, seed=context.config.seed)
        maps = maps_of(context, run, cells, keys.obs)
        notes = picture_notes(maps)
        write_page(
            context,
            run,
            [*cluster_sections(context, run, rows, names), Section("Pictures", notes=notes)],
            last=[methods_section(run)],
            summary=summary_of(run, rows, names),
            maps=maps,
        )
        return ReportRecord(
            n_cells=len(labels),
            files=(result, "report.html"),
            result=result,
            clusters=rows,
            notes=notes,
        )

    def headline(self, record: ReportRecord) -> dict[str, str]:
        """Return the file of the result."""
        return {"result": record.result}

    def for_new_cells(self, run: OpenRun) -> NewReportStage:
        """Return the stage that writes the result and page of a prediction."""
        from scrcl.engine.stages.report_new_cells import NewReportStage

        return NewReportStage(run)


def _rows(labels: IntArray, markers: pd.DataFrame, run: OpenRun) -> tuple[ClusterRow, ...]:
    found = first_genes(markers, run.config.report.n_markers)
    record = run.record(ClusterStage)
    sizes = np.bincount(labels)
    first = [found.get(i, FirstGenes()) for i in range(len(sizes))]
    sure = record.confidence
    batches = run.record(BatchesStage).batches
    named = run.open(NAMES).to_dict("records") if run.has(NAMES) else [{}] * len(sizes)
    entropy = None if batches is None else batches.entropy
    return tuple(
        ClusterRow(
            name=str(i),
            n_cells=int(size),
            share=float(size / len(labels)),
            confidence=sure.median_by_cluster[i],
            n_low_confidence=sure.low_by_cluster[i],
            batch_entropy=None if entropy is None else entropy[i],
            cell_type=named[i].get("name"),
            **_second_of(named[i]),
            markers=first[i].shown,
            n_left_out=first[i].n_left_out,
        )
        for i, size in enumerate(sizes)
    )


def _second_of(named: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the second best name by a table of markers, and how far its score lies below."""
    if named.get("by") != "table" or not named.get("second") or named["name"] == UNKNOWN:
        return {}
    return {"second_type": str(named["second"]), "gap": float(named["gap"])}
