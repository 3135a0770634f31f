"""Strict readers of the text files next to ``matrix.mtx``, and of its lines. A faulty line is refused with its number.

Libraries repair such files in silence: a line with a field too many makes the first field an index, one with a field
too few gets NaN, and an empty line is skipped. So the fields of each line are counted before a library parses them.
"""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NoReturn, cast

import numpy as np
import pandas as pd

from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Header", "entry_tables", "name_table", "open_bytes"]

_GZIP = b"\x1f\x8b"
_N_FIELDS = 3
_LEAST_LINE_BYTES = 6
"""``1 1 1`` and the end of the line."""
_BLANKS = (ord(" "), ord("\t"), ord("\r"), ord("\n"))
_SEPARATORS = {",": "commas", ";": "semicolons", " ": "spaces"}
_EXACT_IN_FLOAT32 = 1 << 24
_ENTRY = re.compile(
    rb"-?\d+(\.0*)?\s+-?\d+(\.0*)?\s+[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|nan)",
    re.IGNORECASE,
)
"""Two whole numbers and any number."""


@dataclass(frozen=True)
class Header:
    """What the first lines of an mtx text say.

    Parameters
    ----------
    field
        Type of the values: ``"integer"`` or ``"real"``.
    shape, nnz
        Numbers of rows, columns and entries of the text.
    n_lines
        Number of lines before the first entry.
    """

    field: str
    shape: tuple[int, int]
    nnz: int
    n_lines: int


def open_bytes(path: Path) -> IO[bytes]:
    """Open a text, gzipped or not, for reading its bytes.

    Raises
    ------
    StoreError
        The file has the suffix of gzip, but is a text.
    """
    if path.suffix == ".gz":
        with path.open("rb") as file:
            first = file.read(2)
        if first and first != _GZIP:
            message = (
                f"{path} must be gzipped; got a file that begins with {first!r}. Remove .gz from its name if it is "
                "unpacked."
            )
            raise StoreError(message)
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def entry_tables(path: Path, n_entries: int, *, header: Header) -> Iterator[pd.DataFrame]:
    """Yield the entries of an mtx text as tables ``row``, ``column``, ``value`` of at most ``n_entries`` rows.

    Rows and columns are int32 and start at 1, values are float32.

    Raises
    ------
    StoreError
        A line is not a row, a column and a value, or does not fit the header. The message has its number.
    """
    n_lines = header.n_lines
    with open_bytes(path) as file:
        for _ in range(header.n_lines):
            file.readline()
        while block := file.read(n_entries * _LEAST_LINE_BYTES):
            if not block.endswith(b"\n"):
                block += file.readline()
            table = _parsed(path, block, n_lines, header)
            n_lines += block.count(b"\n")
            if len(table):
                yield table


def _parsed(path: Path, block: bytes, n_before: int, header: Header) -> pd.DataFrame:
    counts = _field_counts(block)
    if b"\0" in block or not ((counts == _N_FIELDS) | (counts == 0)).all():
        _fail_at_line(path, block, n_before, header)
    if not counts.any():
        return pd.DataFrame({"row": [], "column": [], "value": []})
    try:
        table = pd.read_csv(
            io.BytesIO(block),
            sep=r"\s+",
            header=None,
            names=["row", "column", "value"],
            dtype={"row": np.int64, "column": np.int64, "value": np.float64},
            quoting=3,
            na_filter=False,
        )
    except (ValueError, OverflowError):
        _fail_at_line(path, block, n_before, header)
    if not _fits(table, header):
        _fail_at_line(path, block, n_before, header)
    wide = table["value"].abs().to_numpy() > _EXACT_IN_FLOAT32
    if wide.any() and not (table["value"] == table["value"].astype(np.float32))[wide].all():
        message = (
            f"{path} must have values that float32 holds exactly, as whole numbers below 16,777,216; got "
            f"{table['value'].max():g}. Check the values."
        )
        raise StoreError(message)
    with np.errstate(over="ignore"):
        return table.astype({"row": np.int32, "column": np.int32, "value": np.float32})


def _fits(table: pd.DataFrame, header: Header) -> bool:
    """Return whether all entries lie in the matrix, and their values are finite and of the type that is named."""
    values = table["value"].to_numpy()
    inside = all(
        table[name].min() > 0 and table[name].max() <= size
        for name, size in zip(("row", "column"), header.shape, strict=True)
    )
    is_right = np.isfinite(values).all() and (header.field != "integer" or (values % 1 == 0).all())
    return bool(inside and is_right)


def _field_counts(block: bytes) -> np.ndarray:
    """Return the number of fields in each line, set apart by spaces and tabs."""
    letters = np.frombuffer(block, dtype=np.uint8)
    is_blank = np.zeros(256, dtype=bool)
    is_blank[list(_BLANKS)] = True
    blank = is_blank[letters]
    begins = ~blank
    begins[1:] &= blank[:-1]
    starts = np.flatnonzero(letters[:-1] == ord("\n")) + 1
    return np.add.reduceat(begins.astype(np.int32), np.concatenate([[0], starts]))


def _fail_at_line(path: Path, block: bytes, n_before: int, header: Header) -> NoReturn:
    """Raise the error of the first line that is no entry of the matrix."""
    for number, line in enumerate(block.split(b"\n"), start=n_before + 1):
        rule = _broken_rule(line, header) if line.strip() else ""
        if rule:
            text = line.decode(errors="replace").strip()[:60]
            message = f"{path} must have {rule.format(text=repr(text), number=f'line {number:,}')}"
            raise StoreError(message)
    message = f"{path} must be a text of numbers; lines {n_before + 1:,} and later are not. Copy or download it again."
    raise StoreError(message)


def _broken_rule(line: bytes, header: Header) -> str:
    """Return which rule a line breaks, to be filled with its text and number; empty if it is an entry."""
    fields = line.split()
    found = _ENTRY.fullmatch(line.strip()) if len(fields) == _N_FIELDS else None
    if found is None:
        return (
            f"a row, a column and a value on each line after its header; got {{text}} in {{number}} ({len(fields)} "
            "fields). Repair that line, or write the file again."
        )
    row, column, value = (float(field) for field in fields)
    for name, at, size in zip(("rows", "columns"), (row, column), header.shape, strict=True):
        if not 1 <= at <= size:
            return f"{name} 1 to {size:,}, the size in its header; got {{text}} in {{number}}. Write the file again."
    if not np.isfinite(value):
        return "finite values; got {text} in {number}. Repair that line, or write the file again."
    if header.field == "integer" and value % 1:
        return (
            "whole numbers, as its first line says integer; got {text} in {number}. If it holds fractions, write real "
            "in its first line."
        )
    return ""


def name_table(path: Path, *, n_columns: tuple[int, ...], what: str) -> pd.DataFrame:
    """Return a file of names, ``features.tsv`` or ``barcodes.tsv``, as a table of text.

    Fields are set apart by tabs. If every field is in double quotes, as R writes them, the quotes are no part of the
    names. Other quotes are.

    Parameters
    ----------
    n_columns
        Numbers of columns that such a file may have; all lines have the same.
    what
        What a line should be, for messages.

    Raises
    ------
    StoreError
        A line is empty, not UTF-8, has a NUL, or another number of fields. The message has its number.
    """
    with open_bytes(path) as file:
        content = file.read()
    lines = content.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n").split(b"\n")
    fields = [_fields(path, number, line) for number, line in enumerate(lines, start=1)]
    if not content:
        return pd.DataFrame(columns=range(n_columns[0]), dtype=str)
    width = len(fields[0])
    for number, each in enumerate(fields, start=1):
        if width not in n_columns or len(each) != width or not each[0]:
            at = f"line {number:,}"
            if each[0]:
                at += f" has {len(each)} fields" + (f", line 1 has {width}" if number > 1 else "")
            elif len(each) == width > 1:
                at += ", where the first column is empty"
            _refuse(path, number, "\t".join(each), f"{what}, set apart by tabs, on each line", at)
    if width == 1:
        _require_no_separator(path, [each[0] for each in fields], what)
    return pd.DataFrame(_without_quotes(path, fields))


def _fields(path: Path, number: int, line: bytes) -> list[str]:
    line = line.removesuffix(b"\r")
    if b"\0" in line or b"\r" in line:
        _refuse(path, number, line.decode(errors="replace"), "text without NUL and CR")
    try:
        return line.decode("utf-8").split("\t")
    except UnicodeDecodeError:
        _refuse(path, number, line.decode(errors="replace"), "UTF-8 text")


def _require_no_separator(path: Path, names: list[str], what: str) -> None:
    """Refuse a single column that another separator divides in every line."""
    for separator, word in _SEPARATORS.items():
        if all(separator in name.strip() for name in names):
            rule = f"{what}, set apart by tabs, on each line"
            _refuse(path, 1, names[0], rule, f"line 1, with {word}")


def _without_quotes(path: Path, fields: list[list[str]]) -> list[list[str]]:
    quoted = [all(_is_quoted(field) for field in line) for line in fields]
    if all(quoted):
        return [[field[1:-1].replace('""', '"') for field in line] for line in fields]
    if any(quoted):
        number = quoted.index(not quoted[0]) + 1
        rule = "all of its fields in quotes, or none"
        _refuse(path, number, "\t".join(fields[number - 1]), rule)
    return fields


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field.startswith('"') and field.endswith('"')


def _refuse(path: Path, number: int, line: str, rule: str, at: str = "") -> NoReturn:
    message = (
        f"{path} must have {rule}; got {line[:60]!r} ({at or f'line {number:,}'}). Repair that line, or write the file "
        "again."
    )
    raise StoreError(message)
