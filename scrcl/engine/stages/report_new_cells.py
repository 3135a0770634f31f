"""Stage ``report`` of a prediction: the result as AnnData, and the page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl.cluster.artifacts import CONFIDENCE, LABELS
from scrcl.cluster.confidence import LOW_CONFIDENCE, LOW_PREDICTION_CONFIDENCE
from scrcl.cluster.margin import BLOCK_VALUES
from scrcl.engine.annotate import merged_keys
from scrcl.engine.given_names import shown_names
from scrcl.engine.learning import estimates_of
from scrcl.engine.map_points import bytes_of_maps, maps_of_new_cells
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES
from scrcl.engine.open_run import OpenRun
from scrcl.engine.results import keys_of_input, write_page, write_result_of
from scrcl.engine.stage import Fields, NewCellsStage, Record
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.report import ReportStage
from scrcl.engine.words import words_of
from scrcl.markers.artifacts import NAMES
from scrcl.report.colours import palette
from scrcl.report.page import Column, Section, Table
from scrcl.report.pictures import picture_notes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.words import Words

__all__ = ["NewReportStage"]


class NewClusterRow(Fields):
    """A cluster of the run, and the new cells in it. See `scrcl.engine.stages.report.ClusterRow`."""

    name: str
    n_cells: int
    share: float
    share_run: float
    confidence: float | None
    n_low_confidence: int
    cell_type: str | None = None
    markers: tuple[str, ...]


class NewReportRecord(Record):
    """Where the result is, and the clusters."""

    result: str
    clusters: tuple[NewClusterRow, ...]


class NewReportStage(NewCellsStage[NewReportRecord]):
    """Writes the result and the page of a prediction."""

    name = "report"
    record = NewReportRecord

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the annotations of the new cells."""
        n, of_method = shape.n_cells, estimates_of(shape, config).new_cells
        maps, of_genes = bytes_of_maps(shape, config.report)
        return Estimate(
            LIBRARIES_BYTES + n * (ANNOTATION_BYTES + 16) + maps,
            max(of_method.block_bytes + 8 * BLOCK_VALUES, of_genes),
            disk_bytes=of_method.disk_bytes,
            read_bytes=shape.input_bytes,
        )

    def run(self, context: Context, folder: Path) -> NewReportRecord:
        """Write ``clusters.csv`` into the folder, and the result and ``report.html`` into OUT."""
        import pandas as pd

        run = OpenRun(context.folder, context.stages, context.config)
        rows = self._rows(context)
        pd.DataFrame([row.model_dump() for row in rows]).to_csv(
            folder / "clusters.csv", index=False
        )
        keys = merged_keys(run, run.finished, keys_of_input(context.matrix, context.config))
        origin = {
            "predicted_from": str(self._run.path.resolve()),
            "run_fingerprint": self._run.fingerprint,
        }
        result = write_result_of(context, replace(keys, uns={**keys.uns, **origin}))
        source = Section("Run", overview={"run": str(self._run.path)})
        words = words_of(self._run)
        maps = maps_of_new_cells(context, run, self._run, keys.obs)
        notes = picture_notes(maps)
        write_page(
            context,
            run,
            [_clusters_section(rows, words), source, Section("Pictures", notes=notes)],
            summary=_summary(rows, shown_names(self._run, self._run.labels), words),
            maps=maps,
        )
        return NewReportRecord(
            n_cells=len(context.open(LABELS)),
            files=(result, "report.html"),
            result=result,
            clusters=rows,
            notes=notes,
        )

    def headline(self, record: NewReportRecord) -> dict[str, str]:
        """Return the file of the result."""
        return {"result": record.result}

    def _rows(self, context: Context) -> tuple[NewClusterRow, ...]:
        labels = np.asarray(context.open(LABELS))
        n_clusters = self._run.record(ClusterStage).n_clusters
        sizes = np.bincount(labels, minlength=n_clusters)
        confidence = np.asarray(context.open(CONFIDENCE))
        there = {row.name: row for row in self._run.record(ReportStage).clusters}
        names = context.open(NAMES)["name"] if context.has(NAMES) else [None] * n_clusters
        return tuple(
            NewClusterRow(
                name=str(i),
                n_cells=int(size),
                share=float(size / len(labels)),
                share_run=there[str(i)].share,
                confidence=float(np.median(confidence[labels == i])) if size else None,
                n_low_confidence=int((confidence[labels == i] < LOW_PREDICTION_CONFIDENCE).sum()),
                cell_type=names[i],
                markers=there[str(i)].markers,
            )
            for i, size in enumerate(sizes)
        )


def _summary(rows: Sequence[NewClusterRow], names: Sequence[str], words: Words) -> list[str]:
    """Return the result in sentences: how many cells, where most of them went, and how sure that is."""
    n = sum(row.n_cells for row in rows)
    there = sorted(
        (pair for pair in zip(names, rows, strict=True) if pair[1].n_cells),
        key=lambda pair: -pair[1].n_cells,
    )
    most = [f"{name} ({row.share:.0%})" for name, row in there[:_LARGEST]]
    kind = words.cluster
    went = f"All went to {kind}" if len(there) == 1 else f"Most went to {kind}s"
    all_n = f"the one {kind}" if len(rows) == 1 else f"all {len(rows):,} {kind}s"
    where = all_n if len(there) == len(rows) else f"{len(there):,} of the {len(rows):,} {kind}s"
    low = sum(row.n_low_confidence for row in rows)
    return [
        f"{n:,} new {words.cell}{'' if n == 1 else 's'} in {where} of the run.",
        f"{went} {', '.join(most)}.",
        (
            f"{low:,} ({low / n:.1%}) have a low confidence, below {LOW_PREDICTION_CONFIDENCE}: unlike the "
            f"{words.cell}s of the run, or between {kind}s."
        ),
    ]


_LARGEST = 3
"""Clusters that the summary names."""


def _clusters_section(rows: tuple[NewClusterRow, ...], words: Words) -> Section:
    caption = (
        f"Confidence of new {words.cell}s is on a lower scale than that of the run, as it also falls for {words.cell}s "
        f"unlike those of the run: low is below {LOW_PREDICTION_CONFIDENCE} here, and below {LOW_CONFIDENCE} there."
    )
    is_named = rows[0].cell_type is not None
    columns = [
        Column(words.cluster, "label"),
        *([Column("name")] if is_named else []),
        Column(f"{words.cell}s", "number"),
        Column("share", "share"),
        Column("share in the run", "share"),
        Column("confidence (median)", "number"),
        Column(f"low-confidence {words.cell}s", "number"),
        Column("markers in the run", "markers"),
    ]
    cells = [
        [
            row.name,
            *([row.cell_type] if is_named else []),
            row.n_cells,
            row.share,
            row.share_run,
            row.confidence,
            row.n_low_confidence,
            row.markers,
        ]
        for row in rows
    ]
    table = Table(columns, cells, caption, colours=palette(len(rows)))
    return Section(f"{words.cluster.capitalize()}s", table=table)
