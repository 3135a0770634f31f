"""The notes of a run that a call shows at its end: each once, over all calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["notes_to_show"]


def notes_to_show(entries: Sequence[Mapping[str, Any]], out: Path) -> tuple[list[str], str]:
    """Return the notes that no earlier call has shown, and a line on the others; empty if there are none.

    Calls show notes at their end, so a call that was killed has shown none.
    """
    shown = [note for entry in entries if entry.get("notes_shown") for note in entry["notes"]]
    unseen = [note for entry in entries if not entry.get("notes_shown") for note in entry["notes"]]
    if not shown:
        return unseen, ""
    what, are = ("note", "is") if len(shown) == 1 else ("notes", "are")
    where = "the report" if (out / "report.html").exists() else f"{out}/run.json"
    return unseen, f"{len(shown)} {what} of earlier stages {are} in {where}."
