"""A table that a user wrote as text: columns by name, set apart by tabs, commas or semicolons.

Libraries repair such texts in silence: the first field of lines with one too many becomes an index, lines with one too
few are filled up, and a name ends at a NUL. Here each line has as many fields as the first, or is refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from typing import TYPE_CHECKING, NoReturn

from scrcl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["read_text_table"]

_SEPARATORS = "\t,;"


def read_text_table(path: Path, *, what: str) -> pd.DataFrame:
    """Return the columns of a text as texts. Its first line names them, and decides what sets the fields apart.

    The index holds the lines on which the rows stand, for messages.

    Parameters
    ----------
    what
        What names the file, for messages: an argument or a setting.

    Raises
    ------
    InputError
        The file cannot be read, or a line has another number of fields than the first. The message has its number.
    """
    import pandas as pd

    try:
        content = path.read_bytes()
        packed = path.suffix == ".gz"
        text = (gzip.decompress(content) if packed else content).decode("utf-8-sig")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            message = f"{what} must be a file that exists; got {path}. Check the path."
            raise InputError(message) from None
        reason = getattr(error, "strerror", None) or error
        message = f"{what} must be a readable text in UTF-8; got {path} ({reason}). Copy it again, or save it as UTF-8."
        raise InputError(message) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        _refuse(what, "text without NUL", path, line)
    if not text.strip():
        message = (
            f"{what} must have a line with the names of its columns; got {path}, which is empty. "
            "Name another file."
        )
        raise InputError(message)
    separator = max(_SEPARATORS, key=text.lstrip("\r\n").partition("\n")[0].count)
    records, lines, header = [], [], None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            header = header or fields
            if len(fields) != len(header):
                rule = f"{len(header)} fields on each line, as on its first"
                _refuse(what, rule, path, reader.line_num, f"{len(fields)} fields, ")
            records.append(fields)
            lines.append(reader.line_num)
    except csv.Error as error:
        _refuse(what, f"fields in plain quotes, or in none ({error})", path, reader.line_num)
    assert header is not None
    columns = [name.strip() for name in header]
    index = pd.Index(lines[1:], dtype="int64", name="line")
    return pd.DataFrame(records[1:], index=index, columns=columns, dtype=str)


def _refuse(what: str, rule: str, path: Path, line: int, found: str = "") -> NoReturn:
    message = (
        f"{what} must have {rule}; got {path} ({found}line {line:,}). "
        "Repair that line, or put its fields in quotes."
    )
    raise InputError(message)
