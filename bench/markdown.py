"""Lines of Markdown tables."""

from __future__ import annotations

__all__ = ["head", "line"]


def head(*cells: str) -> list[str]:
    """Return the heading of a table and the rule below it."""
    return [*line(*cells), "|---" * len(cells) + "|"]


def line(*cells: object) -> list[str]:
    """Return a row of a table."""
    return [f"| {' | '.join(map(str, cells))} |"]
