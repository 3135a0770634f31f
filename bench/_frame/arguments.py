"""Command-line options that benchmarks share, and the page that each writes by default."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench._frame.conditions import machine, today

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "add_columns",
    "add_data",
    "add_only",
    "add_repeats",
    "add_seeds",
    "add_settings",
    "add_sizes",
    "choices_of",
    "numbers",
    "parsed",
    "parser_of",
    "paths",
    "words",
]

RESULTS = Path(__file__).parents[1] / "results"


def parser_of(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for ``python -m MODULE`` with the option ``--out``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="Markdown page to write, with a .jsonl file of its rows "
        "(default: bench/results/TOPIC/DATE-MACHINE.md)",
    )
    return parser


def parsed(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """Return the options, with ``command`` (the whole command line) and a value for ``out``."""
    args = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    args.command = f"{parser.prog} {shlex.join(given)}".rstrip()
    if args.out is None:
        args.out = _default_page(parser.prog.split()[-1], getattr(args, "device", "cpu"))
    return args


def _default_page(module: str, device: str) -> Path:
    """Return ``results/TOPIC/DATE-MACHINE.md``; sub-benchmarks add their name at the end."""
    _, topic, *variant = module.split(".")
    name = "-".join([today(), machine(device), *variant])
    return RESULTS / topic / f"{name}.md"


def add_data(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    """Add ``--data``, required where no default is given, and ``--sets``."""
    parser.add_argument(
        "--data",
        type=Path,
        default=default,
        required=default is None,
        help="folder of labelled .h5ad files",
    )
    parser.add_argument(
        "--sets", type=words, default=[""], help="parts of the names of the sets to run"
    )


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add ``--columns``, the columns of obs that may hold batches, in the order they are looked for."""
    parser.add_argument("--columns", type=words, default=["batch", "donor", "sample"])


def add_seeds(parser: argparse.ArgumentParser, default: list[int]) -> None:
    """Add ``--seeds``, a list of numbers."""
    parser.add_argument("--seeds", type=numbers, default=default, help="seeds, as 0,1,2")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``, which may be given several times."""
    parser.add_argument("--set", action="append", default=[], help="a setting of the scrcl runs")


def add_sizes(parser: argparse.ArgumentParser, default: list[int], help_text: str) -> None:
    """Add ``--sizes``, a list of numbers of cells."""
    parser.add_argument("--sizes", type=numbers, default=default, help=help_text)


def add_repeats(parser: argparse.ArgumentParser, default: int, help_text: str) -> None:
    """Add ``--repeats``, the number of times that each thing is measured."""
    parser.add_argument("--repeats", type=int, default=default, help=help_text)


def add_only(parser: argparse.ArgumentParser, names: Collection[str], kind: str) -> None:
    """Add ``--only``, which selects some of ``names``; all by default."""
    parser.add_argument(
        "--only", type=choices_of(names, kind), default=list(names), help=f"{kind} to run"
    )


def choices_of(
    names: Collection[str], kind: str, separator: str = ","
) -> Callable[[str], list[str]]:
    """Return a type for options that list some of ``names``; ``kind`` is used in its message."""

    def listed(text: str) -> list[str]:
        asked = [part.strip() for part in text.split(separator) if part.strip()]
        unknown = sorted(set(asked) - set(names))
        if unknown:
            message = f"must name {kind}; got {unknown[0]!r}. Choose from: {', '.join(names)}"
            raise argparse.ArgumentTypeError(message)
        return asked

    return listed


def numbers(text: str) -> list[int]:
    """Return whole numbers separated by commas."""
    return [int(part) for part in text.split(",")]


def words(text: str) -> list[str]:
    """Return words separated by commas."""
    return text.split(",")


def paths(text: str) -> list[Path]:
    """Return paths separated by commas."""
    return [Path(part) for part in text.split(",")]
