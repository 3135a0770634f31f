"""How the library says what it is doing, without ever printing.

The engine takes a `Reporter`; the command line draws it; `Silent` is the default.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Reporter", "Silent"]


class Reporter(Protocol):
    """Receives progress; `advance` may be called from any thread."""

    def stage_started(self, name: str, total: int | None, unit: str) -> None:
        """Announce a stage (or a part of one) of ``total`` units (rows, steps); unknown where None."""

    def advance(self, n: int) -> None:
        """Report that ``n`` further units of the current stage are done."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Report numbers of one training step."""

    def note(self, message: str) -> None:
        """Pass on a remark that the user should see, such as a fallback that was taken."""

    def stage_finished(self, name: str, seconds: float, *, resumed: bool) -> None:
        """Announce the end of a stage; ``resumed`` where its results were already there."""


class Silent:
    """A reporter that says nothing."""

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
