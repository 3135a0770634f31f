"""Benchmarks of several sections. A section that was measured before stays until it is measured again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bench._frame.conditions import conditions, stamp
from bench._frame.page import write_page
from bench._frame.rows import Row, read_rows, rows_of, write_rows

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Section", "Sections", "measure_sections"]


class Section(NamedTuple):
    """A heading, and the function that measures.

    It yields what it found and the lines of its table: once, or after each part that is done.
    """

    title: str
    measure: Callable[[Any], Iterator[tuple[Any, list[str]]]]


Sections = dict[str, Section]


def measure_sections(
    title: str,
    sections: Mapping[str, Section],
    bench: Any,
    *,
    libraries: Iterable[str] = (),
    device: str | None = None,
) -> str:
    """Measure the sections in ``bench.args.only``; returns the text of the page.

    The page and its rows, one for each section, are written after each part that is done.
    """
    args: argparse.Namespace = bench.args
    measured, text = _measured(args.out), ""
    for name in (name for name in sections if name in args.only):
        for found, lines in sections[name].measure(bench):
            measured[name] = {
                "section": name,
                **stamp(),
                "command": args.command,
                "conditions": conditions(libraries=libraries, device=device),
                "found": found,
                "lines": lines,
            }
            rows = [measured[one] for one in sections if one in measured]
            write_rows(args.out, rows)
            commands = dict.fromkeys(row["command"] for row in rows)
            text = write_page(args.out, title, commands, "", _body(sections, rows))
    return text


def _measured(page: Path) -> dict[str, Row]:
    """Return the sections that the page already has, by name."""
    rows = read_rows(rows_of(page)) if rows_of(page).is_file() else []
    return {row["section"]: row for row in rows}


def _body(sections: Mapping[str, Section], rows: list[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        lines += [f"## {sections[row['section']].title}", "", row["conditions"], ""]
        lines += [*row["lines"], ""]
    return lines
