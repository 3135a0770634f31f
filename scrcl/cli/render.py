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

from scrcl._pace import Pace
from scrcl._progress import Silent
from scrcl.cli.tables import clusters_table, stages_table
from scrcl.cli.texts import as_typed
from scrcl.engine.open_run import open_run
from scrcl.engine.report_sections import correction_of
from scrcl.engine.words import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.table import Table

    from scrcl.engine.run import RunResult

__all__ = ["console", "reporting", "say", "show_ending", "show_run"]

console = Console(highlight=False)
_LOOK_EVERY_S = 5.0


def say(text: str) -> None:
    """Print a line of the result as it is: without markup, and broken by the terminal alone."""
    console.print(text, soft_wrap=True, markup=False)


class Quiet(Silent):
    """Reporter that keeps the notes of the run, which are shown last, and shows nothing."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def run_ended(self, notes: Sequence[str], earlier: str) -> None:
        """Keep the notes. Several runs, of a command that makes some, may have the same."""
        both = [*notes, earlier] if earlier else notes
        self._notes += [note for note in both if note not in self._notes]

    def typed(self, text: str) -> str:
        """Return a text of the report with options in place of settings, still in backquotes."""
        return as_typed(text, quoted=True)

    def show_notes(self) -> None:
        """Print the notes where they are in nobody's way: stdout has the result alone."""
        self._show_notes(Console(stderr=True, highlight=False))

    def _show_notes(self, on: Console) -> None:
        notes, self._notes = self._notes, []
        for note in notes:
            on.print(f"[yellow]note:[/] {escape(as_typed(note))}", soft_wrap=True)


class _Shown(Quiet):
    """What reporters share that show progress: finished stages take one line, and notes follow the result."""

    def __init__(self, on: Console) -> None:
        super().__init__()
        self._console = on
        self._finished: list[str] = []

    def show_notes(self) -> None:
        """Print the notes below the result."""
        self._show_notes(self._console)

    def _flush(self) -> str:
        """Return the line about the stages that were found finished, since the last call; or nothing."""
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

    def run_started(self, text: str) -> None:
        """Print above the bar what begins."""
        self._print_finished()
        self._console.print(text, markup=False)

    def stage_started(self, name: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Replace the bar."""
        self._print_finished()
        self._drop()
        self._task = self._progress.add_task(
            name, total=total or 0, completed=done, unit=unit, losses="", rate=""
        )

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
    """Reporter that prints timestamped lines; use as a context manager.

    Within a stage there is a line every 30 seconds, also where nothing is counted: a log ends in the stage that a job
    was killed in.
    """

    def __init__(self, on: Console) -> None:
        super().__init__(on)
        self._pace, self._ended = Pace(), threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="scrcl-lines", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._print_finished()

    def run_started(self, text: str) -> None:
        """Print what begins."""
        self._print_finished()
        self._print(text)

    def stage_started(self, name: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Start counting."""
        self._print_finished()
        self._pace.begin(name, total, unit, done=done)

    def advance(self, n: int) -> None:
        """Count; print the progress at most every 30 seconds."""
        self._pace.advance(n)
        self._print_due()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Print the progress and the losses at most every 30 seconds."""
        if text := self._pace.due(step):
            self._print(f"{text}; {_losses(values)}")

    def _watch(self) -> None:
        """Print the progress of a stage that counts nothing, or rarely."""
        while not self._ended.wait(_LOOK_EVERY_S):
            self._print_due()

    def _print_due(self) -> None:
        if text := self._pace.due():
            self._print(text)

    def note(self, message: str) -> None:
        """Print the note."""
        self._print(f"note: {as_typed(message)}")

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """Print that the stage is done."""
        self.stage_left(name)
        if resumed:
            self._finished.append(name)
        else:
            self._print(f"{name}: done in {seconds:.1f} s")

    def stage_left(self, name: str) -> None:
        """Report no more of the stage."""
        del name
        self._pace.end()

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


def show_ending(
    result: RunResult,
    table: Table,
    reporter: Quiet,
    *,
    timed: bool,
    sentences: Sequence[str] = (),
) -> None:
    """Print what the stages took if ``timed``, a table, sentences, where the result is, and the notes of the run."""
    if timed and not result.found_finished:
        console.print()
        console.print(stages_table(result.stages))
    console.print()
    console.print(table)
    for sentence in sentences:
        say(f"\n{as_typed(sentence)}")
    say(f"\nresult  {result.result_path}\nreport  {result.report_path}")
    reporter.show_notes()


def show_run(result: RunResult, reporter: Quiet, *, timed: bool) -> None:
    """Print the clusters of a finished run, in the words of its report, and where the result is."""
    run = open_run(result.out)
    table = clusters_table(result.clusters, words_of(run))
    show_ending(result, table, reporter, timed=timed, sentences=correction_of(run))


def _losses(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())
