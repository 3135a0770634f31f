"""Progress reports. The library never prints: it calls a `Reporter`, which the command line draws."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Reporter", "Silent"]


class Reporter(Protocol):
    """Receives progress. `advance` may be called from any thread."""

    def stage_started(self, name: str, total: int | None, unit: str) -> None:
        """Start a stage, or a part of one, of ``total`` units (rows, steps). None if the number is unknown."""

    def advance(self, n: int) -> None:
        """Report that ``n`` more units of the current stage are done."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Report values of one training step."""

    def note(self, message: str) -> None:
        """Show a note to the user, for example about a fallback."""

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """End a stage. ``resumed`` means that its results already existed."""

    def stage_left(self, name: str) -> None:
        """End a stage that had nothing to do."""


class Silent:
    """A reporter that ignores everything; the default."""

    def stage_started(self, name: str, total: int | None, unit: str) -> None:
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
