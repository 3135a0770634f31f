"""Progress and results on a terminal, or as plain timestamped lines.

Bars are drawn only on a terminal, because they make the logs of batch jobs unreadable.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from scrcl._progress import Silent
from scrcl._sizes import format_bytes
from scrcl.cli.texts import as_typed
from scrcl.cluster.confidence import LOW_PREDICTION_CONFIDENCE
from scrcl.engine.describe import for_people
from scrcl.engine.open_run import open_run
from scrcl.engine.words import words_of
from scrcl.markers.listed import LEFT_OUT, first_genes
from scrcl.markers.names import SCORE_MEANING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from scrcl.engine.plan import StagePlan
    from scrcl.engine.run import RunResult
    from scrcl.engine.words import Words

__all__ = [
    "clusters_table",
    "console",
    "groups_table",
    "plan_table",
    "predicted_table",
    "record_table",
    "reporting",
    "settings_table",
    "show_ending",
    "show_run",
    "stages_table",
]

console = Console(highlight=False)
_LINE_EVERY_S = 30.0
_CLUSTER_GENES, _GROUP_GENES = 6, 10
"""Marker genes of a cluster in the table of a run, and of a group in the others."""


class Quiet(Silent):
    """Reporter that keeps the notes of the run, which are shown last, and shows nothing."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def run_ended(self, notes: Sequence[str]) -> None:
        """Keep the notes. Several runs, of a command that makes some, may have the same."""
        self._notes += [note for note in notes if note not in self._notes]

    def show_notes(self) -> None:
        """Print the notes where they are in nobody's way: stdout has the result alone."""
        self._show_notes(Console(stderr=True, highlight=False))

    def _show_notes(self, on: Console) -> None:
        notes, self._notes = self._notes, []
        for note in notes:
            on.print(f"[yellow]note:[/] {escape(as_typed(note))}", soft_wrap=True)


class _Shown(Quiet):
    """What reporters share that show progress: stages found finished take one line, and notes follow the result."""

    def __init__(self, on: Console) -> None:
        super().__init__()
        self._console = on
        self._finished: list[str] = []

    def show_notes(self) -> None:
        """Print the notes below the result."""
        self._show_notes(self._console)

    def _flush(self) -> str:
        """Return the line about the stages that were found finished since the last call; or nothing."""
        names, self._finished = self._finished, []
        return f"{', '.join(names)}: found finished" if names else ""


class Bars(_Shown):
    """Reporter that draws one live bar; use as a context manager."""

    def __init__(self, on: Console) -> None:
        super().__init__(on)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            console=on,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._print_finished()
        self._progress.stop()

    def stage_started(self, name: str, total: int | None, unit: str) -> None:
        """Replace the bar."""
        self._print_finished()
        self._drop()
        self._task = self._progress.add_task(name, total=total or 0, unit=unit, losses="", rate="")

    def advance(self, n: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, n)
            speed = self._progress.tasks[-1].speed
            self._progress.update(self._task, rate=f"{speed:,.0f}/s" if speed else "")

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Show the losses; the bar counts the steps."""
        del step
        if self._task is not None:
            self._progress.update(self._task, losses=_losses(values))

    def note(self, message: str) -> None:
        """Print above the bar."""
        self._console.print(f"[yellow]note:[/] {escape(as_typed(message))}")

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """Replace the bar by a line with the time taken."""
        self._drop()
        if resumed:
            self._finished.append(name)
        else:
            self._console.print(f"[green]✓[/] {name:<9} {seconds:8.1f} s")

    def stage_left(self, name: str) -> None:
        """Remove the bar."""
        del name
        self._drop()

    def _print_finished(self) -> None:
        if line := self._flush():
            self._console.print(f"[green]✓[/] {line}")

    def _drop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


class Lines(_Shown):
    """Reporter that prints timestamped lines, at most one every 30 seconds within a stage."""

    def __init__(self, on: Console) -> None:
        super().__init__(on)
        self._lock = threading.Lock()
        self._name, self._unit, self._total, self._done = "", "", 0, 0
        self._started_s = self._printed_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._print_finished()

    def stage_started(self, name: str, total: int | None, unit: str) -> None:
        """Start counting."""
        self._print_finished()
        with self._lock:
            self._name, self._unit, self._total, self._done = name, unit, total or 0, 0
            self._started_s = self._printed_s = time.monotonic()

    def advance(self, n: int) -> None:
        """Count; print the progress at most every 30 seconds."""
        with self._lock:
            self._done += n
            now = time.monotonic()
            if now - self._printed_s < _LINE_EVERY_S:
                return
            self._printed_s = now
            rate = self._done / max(now - self._started_s, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
        of = f" of {self._total:,}, {left:.0f} s left" if self._total else ""
        self._print(f"{self._name}: {self._done:,} {self._unit}{of} ({rate:,.0f}/s)")

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Print the losses at most every 30 seconds."""
        with self._lock:
            now = time.monotonic()
            if now - self._printed_s < _LINE_EVERY_S:
                return
            self._printed_s = now
        self._print(f"{self._name}: step {step:,} {_losses(values)}")

    def note(self, message: str) -> None:
        """Print the note."""
        self._print(f"note: {as_typed(message)}")

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """Print that the stage is done."""
        if resumed:
            self._finished.append(name)
        else:
            self._print(f"{name}: done in {seconds:.1f} s")

    def _print_finished(self) -> None:
        if line := self._flush():
            self._print(line)

    def _print(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._console.print(f"{stamp} {text}", markup=False, soft_wrap=True)


@contextmanager
def reporting(quiet: bool) -> Iterator[Quiet]:
    """Yield what shows the progress: bars on a terminal, lines elsewhere, nothing if ``quiet``.

    The command shows the notes, below the result. They are shown here if the work fails: they may say why.
    """
    reporter = Quiet() if quiet else Bars(console) if console.is_terminal else Lines(console)
    try:
        with reporter:
            yield reporter
    except BaseException:
        reporter.show_notes()
        raise


def show_ending(result: RunResult, table: Table, reporter: Quiet, *, timed: bool) -> None:
    """Print what the stages took if ``timed``, a table, where the result is, and then the notes of the run."""
    if timed and not result.found_finished:
        console.print()
        console.print(stages_table(result.stages))
    console.print()
    console.print(table)
    paths = f"\nresult  {result.result_path}\nreport  {result.report_path}"
    console.print(paths, soft_wrap=True, markup=False)
    reporter.show_notes()


def show_run(result: RunResult, reporter: Quiet, *, timed: bool) -> None:
    """Print the clusters of a finished run, in the words of its report, and where the result is."""
    table = clusters_table(result.clusters, words_of(open_run(result.out)))
    show_ending(result, table, reporter, timed=timed)


def clusters_table(clusters: Sequence[Mapping[str, Any]], words: Words) -> Table:
    """Sizes and first marker genes of the clusters."""
    named = any(row.get("cell_type") is not None for row in clusters)
    kind_heading = ["name"] if named else []
    names = (words.cluster, *kind_heading, f"{words.cell}s", "share", "markers")
    table = Table(*names, box=None, pad_edge=False)
    for row in clusters:
        markers = escape(", ".join(row["markers"][:_CLUSTER_GENES]))
        kind = [escape(_names_of(row))] if named else []
        cells = f"{row['n_cells']:,}", f"{row['share']:.1%}"
        table.add_row(str(row["name"]), *kind, *cells, markers)
    if any(row.get("second_type") for row in clusters):
        _explain(
            table,
            f"In brackets: the second best name, and its score below the best. {SCORE_MEANING}",
        )
    if any(row.get("n_left_out") for row in clusters):
        _explain(table, LEFT_OUT)
    return table


def _names_of(row: Mapping[str, Any]) -> str:
    """Return the name of a cluster, the second best, and how far its score lies below."""
    second = row.get("second_type")
    return str(row["cell_type"]) + (f" (or {second}, {row['gap']:.1f} lower)" if second else "")


def _explain(table: Table, text: str) -> None:
    """Put a sentence below a table."""
    table.caption = f"{table.caption} {text}" if table.caption else text
    table.caption_justify = "left"


def groups_table(markers: pd.DataFrame) -> Table:
    """First marker genes of groups of cells, from the table of their markers."""
    table = Table("group", "markers", box=None, pad_edge=False)
    groups = first_genes(markers, _GROUP_GENES)
    for group, first in groups.items():
        table.add_row(escape(str(group)), escape(", ".join(first.shown)))
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
    """Time, peak memory, bytes read and rate of the stages that had something to do."""
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


def _losses(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())
