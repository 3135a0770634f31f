"""Pages of results: the command that makes them, the conditions, tables, and findings that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench._frame.conditions import conditions, today

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FINDINGS", "commands_of", "head", "line", "table", "write_page", "write_results"]

FINDINGS = "## Findings"
"""What follows this heading was written by hand. It is kept when the page is written again."""


def head(*cells: str) -> list[str]:
    """Return the heading of a table and the rule below it."""
    return [*line(*cells), "|---" * len(cells) + "|"]


def line(*cells: object) -> list[str]:
    """Return a row of a table."""
    return [f"| {' | '.join(map(str, cells))} |"]


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return a whole table."""
    return [*head(*columns), *(text for row in rows for text in line(*row))]


def write_page(
    path: Path, title: str, commands: str | Iterable[str], at: str, body: Iterable[str]
) -> str:
    """Write a page: title and date, commands, conditions (``at``) and body; returns its text."""
    listed = [commands] if isinstance(commands, str) else list(commands)
    lines = [f"# {title}, {today()}", ""]
    for command in listed:
        lines += [f"`{command}`", ""]
    lines += [at, ""] if at else []
    text = "\n".join([*lines, *body]).rstrip("\n") + "\n"
    if findings := _findings(path):
        text += f"\n{findings}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text


def write_results(
    args: argparse.Namespace, title: str, body: Iterable[str], *, libraries: Iterable[str] = ()
) -> str:
    """Write the page of a benchmark: its command, the conditions now, and ``body``; returns its text."""
    at = conditions(libraries=libraries)
    return write_page(args.out, title, args.command, at, body)


def commands_of(path: Path) -> list[str]:
    """Return the commands that a page names, for one whose rows come from several."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [text.strip("`") for text in lines if text.startswith("`python -m bench.")]


def _findings(path: Path) -> str:
    """Return the findings of the page that is already there, with their heading; empty where none."""
    if not path.is_file():
        return ""
    _, heading, rest = path.read_text(encoding="utf-8").partition(f"{FINDINGS}\n")
    return heading + rest
