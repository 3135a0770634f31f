"""Progress reports. The library never prints: it calls a `Reporter`, which the command line draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scrcl._pace import Pace
from scrcl._warnings import logger_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Logged", "Reporter", "Silent"]

_LOG = logger_of(__name__)


class Reporter(Protocol):
    """Receives progress. `advance` may be called from any thread."""

    def run_started(self, text: str) -> None:
        """Begin a run that has something to do: what it reads, where it writes, and what it may take."""

    def stage_started(self, name: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Start a stage, or a part of one, of ``total`` units (rows, steps). None if the number is unknown.

        ``done`` of them were done by an earlier call.
        """

    def advance(self, n: int) -> None:
        """Report that ``n`` more units of the current stage are done."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Report values of one training step."""

    def note(self, message: str) -> None:
        """Show at once what happened, for example a fallback."""

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """End a stage. ``resumed`` means that its results already existed."""

    def stage_left(self, name: str) -> None:
        """End a stage that had nothing to do."""

    def run_ended(self, notes: Sequence[str], earlier: str) -> None:
        """End a run, also one that fails, with what the user should know of its stages and was not shown before.

        ``earlier`` says where the notes are that were shown before; it is empty if there are none.
        """

    def typed(self, text: str) -> str:
        """Return a text of the report with settings as its reader gives them, as options or as in Python."""


class Silent:
    """A reporter that ignores everything; the default."""

    def run_started(self, text: str) -> None:
        """Ignore."""

    def stage_started(self, name: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Ignore."""

    def advance(self, n: int) -> None:
        """Ignore."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore."""

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """Ignore."""

    def stage_left(self, name: str) -> None:
        """Ignore."""

    def run_ended(self, notes: Sequence[str], earlier: str) -> None:
        """Ignore."""

    def typed(self, text: str) -> str:
        """Return the text: it is written for Python."""
        return text


class Logged(Silent):
    """A reporter that logs the notes of a run, and its stages at the level INFO: the default in Python.

    A stage begins where it counts its work; those that find nothing to do are not logged. Every 30
    seconds it is logged how far a stage is that counts.
    """

    def __init__(self) -> None:
        self._stage, self._is_logged, self._pace = "", False, Pace()

    def run_started(self, text: str) -> None:
        """Log what begins."""
        _LOG.info("%s", text)

    def stage_started(self, name: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Log once that the stage begins, and how much it has to do."""
        self._pace.begin(name, total, unit, done=done)
        if not self._stage:
            self._stage, self._is_logged = name, False
        if total and not self._is_logged and name == self._stage:
            _LOG.info("%s: begins, %s %s", name, f"{total:,}", unit)
            self._is_logged = True

    def advance(self, n: int) -> None:
        """Count; log the progress at most every 30 seconds."""
        self._pace.advance(n)
        if text := self._pace.due():
            _LOG.info("%s", text)

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """Log the time of the stage, or that it was finished before."""
        _LOG.info("%s: %s", name, "was finished before" if resumed else f"done in {seconds:.1f} s")
        self._stage = ""

    def stage_left(self, name: str) -> None:
        """Forget the stage."""
        del name
        self._stage = ""

    def run_ended(self, notes: Sequence[str], earlier: str) -> None:
        """Log each note as a warning, which Python shows by default; the line on notes of earlier calls is none."""
        for note in notes:
            _LOG.warning("%s", note)
        if earlier:
            _LOG.info("%s", earlier)
