"""Tables on the terminal: clusters, groups of cells, stages, settings and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from scrcl._sizes import format_bytes
from scrcl.cluster.confidence import LOW_PREDICTION_CONFIDENCE
from scrcl.engine.describe import for_people
from scrcl.markers.listed import LEFT_OUT, first_genes
from scrcl.markers.names import SECOND_MEANING, with_second

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scrcl.engine.plan import StagePlan
    from scrcl.engine.words import Words

__all__ = [
    "clusters_table",
    "groups_table",
    "plan_table",
    "predicted_table",
    "record_table",
    "settings_table",
    "stages_table",
]

_CLUSTER_GENES, _GROUP_GENES = 6, 10
"""Marker genes of a cluster in the table of a run, and of a group in the others."""


def clusters_table(clusters: Sequence[Mapping[str, Any]], words: Words) -> Table:
    """Sizes and first marker genes of the clusters."""
    named = any(row.get("cell_type") is not None for row in clusters)
    kind_heading = ["name"] if named else []
    names = (words.cluster, *kind_heading, f"{words.cell}s", "share", "markers")
    table = Table(*names, box=None, pad_edge=False)
    for row in clusters:
        markers = escape(", ".join(row["markers"][:_CLUSTER_GENES]))
        kind = []
        if named:
            second = row.get("second_type"), row.get("gap")
            kind = [escape(with_second(str(row["cell_type"]), *second))]
        cells = f"{row['n_cells']:,}", f"{row['share']:.1%}"
        table.add_row(str(row["name"]), *kind, *cells, markers)
    if any(row.get("second_type") for row in clusters):
        _explain(table, SECOND_MEANING)
    if any(row.get("n_left_out") for row in clusters):
        _explain(table, LEFT_OUT)
    return table


def _explain(table: Table, text: str) -> None:
    """Put a sentence below a table."""
    table.caption = f"{table.caption} {text}" if table.caption else text
    table.caption_justify = "left"


def groups_table(markers: pd.DataFrame, *, heading: str = "group") -> Table:
    """First marker genes of groups of cells, from the table of their markers; ``heading`` says what a group is."""
    is_named = "name" in markers
    table = Table(heading, *(["name"] if is_named else []), "markers", box=None, pad_edge=False)
    groups = first_genes(markers, _GROUP_GENES)
    for group, first in groups.items():
        name = [markers["name"][markers["cluster"] == group].iloc[0]] if is_named else []
        table.add_row(*(escape(str(text)) for text in (group, *name, ", ".join(first.shown))))
    if any(first.n_left_out for first in groups.values()):
        _explain(table, LEFT_OUT)
    return table


def predicted_table(clusters: Sequence[Mapping[str, Any]]) -> Table:
    """Names and sizes of the clusters among the new cells and in the run, and their median confidence."""
    named = any(row["cell_type"] is not None for row in clusters)
    kind = ["name"] if named else []
    names = ("cluster", *kind, "cells", "share", "in the run", "confidence", "markers")
    table = Table(*names, box=None, pad_edge=False)
    for row in clusters:
        table.add_row(
            str(row["name"]),
            *([escape(row["cell_type"])] if named else []),
            f"{row['n_cells']:,}",
            f"{row['share']:.1%}",
            f"{row['share_run']:.1%}",
            "" if row["confidence"] is None else f"{row['confidence']:.2f}",
            escape(", ".join(row["markers"][:_CLUSTER_GENES])),
        )
    _explain(
        table,
        "In the run: share of the run's cells. Confidence: median of the new cells, 0 to 1; below "
        f"{LOW_PREDICTION_CONFIDENCE} is low. Markers are those of the run.",
    )
    return table


def stages_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """Time, peak memory, bytes read and rate of the stages that had something to do, and of all together."""
    table = Table("stage", "seconds", "peak memory", "read", "cells/s", box=None, pad_edge=False)
    for row in stages:
        if row.get("left_as_is"):
            continue
        rate = row.get("cells_per_s")
        table.add_row(
            row["name"],
            f"{row['seconds']:.1f}",
            format_bytes(row["peak_rss_bytes"]),
            format_bytes(row["bytes_read"]),
            f"{rate:,.0f}" if rate else "",
        )
    table.add_row(
        "all",
        f"{sum(row['seconds'] for row in stages):.1f}",
        format_bytes(max(row["peak_rss_bytes"] for row in stages)),
        format_bytes(sum(row["bytes_read"] for row in stages)),
        "",
    )
    return table


def plan_table(stages: Sequence[StagePlan]) -> Table:
    """Estimated memory, disk, bytes read and time of all stages, and of each that takes anything."""
    table = Table("stage", "peak memory", "disk", "read", "seconds", box=None, pad_edge=False)
    for row in stages:
        if row.seconds or row.disk_bytes or row.read_bytes:
            sizes = (row.peak_bytes, row.disk_bytes, row.read_bytes)
            table.add_row(row.name, *map(format_bytes, sizes), f"{row.seconds:,.0f}")
    table.add_row(
        "all",
        format_bytes(max(row.peak_bytes for row in stages)),
        format_bytes(sum(row.disk_bytes for row in stages)),
        format_bytes(sum(row.read_bytes for row in stages)),
        f"{sum(row.seconds for row in stages):,.0f}",
    )
    return table


def record_table(record: Mapping[str, Any]) -> Table:
    """Names and values of a record, with units."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in for_people(record).items():
        table.add_row(f"[dim]{escape(name)}[/]", escape(value))
    return table


def settings_table(group: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Names, values, meaning and options of the settings of a group."""
    table = Table(title=group, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("setting", "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        option = f" Option {row['option']}." if row["option"] else ""
        meaning = f"{row['meaning']} [{row['allowed']}]{option}"
        table.add_row(escape(row["name"]), escape(_value(row["value"])), escape(meaning))
    return table


def _value(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
