"""Benchmarks on the labelled sets whose types have right names in a table of markers: options, files, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench._frame.arguments import add_data, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import labelled_files
from bench._frame.page import write_results
from bench._frame.rows import logged
from bench.genes.right_names import NAMED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from bench._frame.rows import Row

__all__ = ["named_files", "parser_of_named", "write_named"]


def parser_of_named(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options for the sets and for the table of known markers."""
    parser = parser_of(module, doc)
    add_data(parser)
    parser.add_argument("--markers", type=Path, required=True, help="table of known markers")
    return parser


def named_files(args: argparse.Namespace) -> list[Path]:
    """Return the sets that are asked for and have right names."""
    return [path for path in labelled_files(args.data, args.sets) if path.stem in NAMED]


def write_named(
    args: argparse.Namespace,
    title: str,
    measured: Callable[[Path, Path], Iterable[Row]],
    tables: Callable[[list[Row]], list[str]],
) -> None:
    """Measure each set by its file and the table of markers, and write the page and its rows."""
    found = (
        {**stamp(), **row} for path in named_files(args) for row in measured(path, args.markers)
    )
    rows = logged(args.out, found)
    write_results(args, title, tables(rows))
