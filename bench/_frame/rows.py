"""Rows of measurements: a file with a line of JSON for each, next to the page."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Row", "RowLog", "logged", "read_rows", "rows_of", "write_rows"]

Row = dict[str, Any]


def rows_of(page: Path) -> Path:
    """Return the file with the rows of a page."""
    return page.with_suffix(".jsonl")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file.

    Raises
    ------
    SystemExit
        The file is missing, or has lines that are not JSON.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        message = f"rows must come from a file of JSON lines; got {path} ({error})."
        raise SystemExit(message) from None


def write_rows(page: Path, rows: Iterable[Row]) -> None:
    """Write all rows of a page."""
    page.parent.mkdir(parents=True, exist_ok=True)
    rows_of(page).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


class RowLog:
    """Rows of a page that are written one by one, so that a run that ends early keeps them.

    Parameters
    ----------
    page
        Path of the Markdown page.
    kept
        Rows of earlier runs, which come first.
    """

    def __init__(self, page: Path, kept: Iterable[Row] = ()) -> None:
        write_rows(page, kept)
        self._file = rows_of(page).open("a", encoding="utf-8")

    def append(self, row: Row) -> None:
        """Write a row to disk."""
        self._file.write(f"{json.dumps(row)}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def logged(page: Path, found: Iterable[Row], kept: Iterable[Row] = ()) -> list[Row]:
    """Write the rows of a page to disk, and to standard error, as they come; return them all, ``kept`` ones first."""
    rows = list(kept)
    with RowLog(page, rows) as log:
        for row in found:
            rows.append(row)
            log.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    return rows
