"""Stage ``subclusters``: takes up what closer looks into clusters found (`scrcl.engine.subclusters`).

A look stays as long as its cluster has the same cells. After clusters are found again, a look into other cells is left
out, with a note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Settings
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.annotate import named_categories
from scrcl.engine.fingerprint import fingerprint_of_array
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.given_names import plain_names
from scrcl.engine.memory import LIBRARIES_BYTES, kept_bytes
from scrcl.engine.outputs import Outputs
from scrcl.engine.stage import AnnDataKeys, Fields, Record, Stage
from scrcl.engine.stages.batches import BatchesStage
from scrcl.engine.stages.closer import stages_of_look, subcluster_names, write_markers
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.sub_names import sub_names
from scrcl.engine.words import words_in, words_of
from scrcl.errors import StoreError
from scrcl.markers.artifacts import MARKERS
from scrcl.markers.listed import FirstGenes, first_genes
from scrcl.prep.artifacts import STATS
from scrcl.report.colours import palette
from scrcl.report.page import Column, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.typing import IntArray

__all__ = [
    "LOOKS",
    "SUB_KEY",
    "SubclustersSettings",
    "SubclustersStage",
    "digest_of_cells",
    "found_notes",
    "given_names_of_subclusters",
    "subclusters_of",
]

LOOKS = "subclusters"
"""Folder in OUT with a folder for each cluster that was looked into."""

SUB_KEY, _NAME_KEY = "scrcl_sub", "scrcl_sub_name"
_CODES = "codes.npy"
_SHOWN_MARKERS = 8


class SubclustersSettings(Settings):
    """Closer looks into clusters."""

    min_cells: int = Field(
        20, ge=5, description="A closer look does not divide clusters of fewer cells."
    )


class SubclusterRow(Fields):
    """A subcluster: its name, cells, share of the cluster and first marker genes, and a name that was given."""

    name: str
    given: str | None = None
    n_cells: int
    share: float
    markers: tuple[str, ...]


class SubclustersRecord(Record):
    """Subclusters of the clusters that were looked into, and the categories of ``obs["scrcl_sub"]``."""

    rows: tuple[SubclusterRow, ...] = ()
    names: tuple[str, ...] = ()


class SubclustersStage(Stage[SubclustersRecord]):
    """Puts the subclusters of each cluster that was looked into in its place."""

    name = "subclusters"
    settings = SubclustersSettings
    record = SubclustersRecord
    redo_settings = ("subclusters",)
    owned_obs = (SUB_KEY, _NAME_KEY)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return the labels of all cells, and positions of those of a cluster."""
        return Estimate(LIBRARIES_BYTES + kept_bytes(shape) + 24 * shape.n_cells)

    def run(self, context: Context, folder: Path) -> SubclustersRecord:
        """Write the subcluster of each cell, or its cluster, if there are any looks."""
        labels = np.asarray(context.open(LABELS))
        rows_of_cells = np.flatnonzero(context.open(STATS).retained)
        notes: list[str] = []
        found = dict(_looks(context.folder.path, labels, rows_of_cells, notes))
        if not found:
            return SubclustersRecord(left_as_is=True, notes=tuple(notes))
        codes, names = np.empty(len(labels), np.int32), list[str]()
        rows: list[SubclusterRow] = []
        word = words_in(context).cluster
        for cluster in range(int(labels.max()) + 1):
            inside = labels == cluster
            if cluster not in found:
                codes[inside] = len(names)
                names.append(str(cluster))
                continue
            of_cells = np.asarray(found[cluster].open(LABELS))
            codes[inside] = len(names) + of_cells
            names += subcluster_names(cluster, of_cells)
            of_look = _rows(cluster, of_cells, found[cluster])
            rows += of_look
            # Again, since names are given after the look.
            named = {row.name: row.given for row in of_look if row.given is not None}
            write_markers(found[cluster], subcluster_names(cluster, of_cells), named)
            notes += [f"Inside {word} {cluster}: {note}" for note in found_notes(found[cluster])]
        np.save(folder / _CODES, codes)
        return SubclustersRecord(
            n_cells=len(labels), rows=tuple(rows), names=tuple(names), notes=tuple(notes)
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return clusters and subclusters as one column; and their names as one, if subclusters have names."""
        record = run.record(SubclustersStage)
        codes = np.load(run.folder.stage(self.name) / _CODES)
        columns = {SUB_KEY: named_categories(record.names, codes)}
        given = given_names_of_subclusters(run)
        if given:
            clusters = plain_names(run, np.asarray(run.open(LABELS)))
            of_each = [
                given.get(name, clusters[int(name)] if name.isdecimal() else name)
                for name in record.names
            ]
            columns[_NAME_KEY] = named_categories(of_each, codes)
        colours = {f"{key}_colors": palette(len(each.categories)) for key, each in columns.items()}
        return AnnDataKeys(obs=columns, uns_other=colours)

    def section(self, run: OpenRun) -> Section | None:
        """Return the subclusters and their markers."""
        record, words = run.record(SubclustersStage), words_of(run)
        if record.left_as_is:
            return super().section(run)
        is_named = any(row.given is not None for row in record.rows)
        columns = (
            Column("subcluster"),
            *([Column("name")] if is_named else []),
            Column(f"{words.cell}s", "number"),
            Column(f"share of the {words.cluster}", "share"),
            Column("markers", "markers"),
        )
        caption = f"Markers compare a subcluster with the other {words.cell}s of its {words.cluster} alone."
        table = Table(
            columns,
            [
                (row.name, *([row.given] if is_named else []), row.n_cells, row.share, row.markers)
                for row in record.rows
            ],
            caption,
        )
        return Section("Subclusters", table=table, notes=record.notes)


def subclusters_of(run: OpenRun) -> tuple[str, ...]:
    """Return the subclusters of a run that it shows, such as ``3_0``."""
    return tuple(row.name for row in run.record(SubclustersStage).rows)


def given_names_of_subclusters(run: OpenRun) -> dict[str, str]:
    """Return the names that were given to subclusters, by subcluster."""
    rows = run.record(SubclustersStage).rows
    return {row.name: row.given for row in rows if row.given is not None}


def digest_of_cells(rows: IntArray) -> str:
    """Return a hash of positions of cells in the input."""
    return fingerprint_of_array(np.asarray(rows, np.int64))


def found_notes(look: Outputs) -> Iterator[str]:
    """Yield what to know about the subclusters that a look found."""
    yield from look.record(ClusterStage).notes
    yield from look.record(BatchesStage).notes


def _looks(
    out: Path, labels: IntArray, rows: IntArray, notes: list[str]
) -> Iterator[tuple[int, Outputs]]:
    """Yield the clusters that were divided, and what the look left; add a note for each that no longer fits."""
    folders = [path for path in out.glob(f"{LOOKS}/*") if path.name.isdecimal()]
    for path in sorted(folders, key=lambda path: int(path.name)):
        cluster = int(path.name)
        try:
            manifest = read_manifest(path)
        except StoreError:
            continue  # a look that did not begin
        if manifest.get("n_subclusters", 1) < 2:
            continue
        cells = rows[labels == cluster]
        if manifest["settings"]["input"]["cells"] != digest_of_cells(cells):
            notes.append(
                f"The subclusters of {cluster} are left out, because cluster {cluster} has other cells now. Look "
                f"into it again by `scrcl.subcluster`."
            )
            continue
        yield cluster, Outputs(RunFolder(path, manifest), stages_of_look(cluster))


def _rows(cluster: int, labels: IntArray, look: Outputs) -> list[SubclusterRow]:
    """Return a row for each subcluster."""
    first, given = first_genes(look.open(MARKERS), _SHOWN_MARKERS), sub_names(look.folder.path)
    sizes = np.bincount(labels)
    return [
        SubclusterRow(
            name=name,
            given=given.get(name),
            n_cells=int(sizes[i]),
            share=float(sizes[i] / len(labels)),
            markers=first.get(i, FirstGenes()).shown,
        )
        for i, name in enumerate(subcluster_names(cluster, labels))
    ]
