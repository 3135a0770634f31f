"""Columns of the input that are left out: a warning for each, and the reasons, which stay with the table.

A damaged or foreign column must not end a run that does not need it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scrcl._warnings import logger_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = [
    "leave_out",
    "left_out_if_faulty",
    "reason_in_short",
    "reasons_of",
    "why_left_out",
    "with_reasons",
]

_LEFT_OUT = "left_out"
"""Key of the reasons in the attrs of a table."""

_log = logger_of(__name__)


@contextmanager
def left_out_if_faulty(group: Any, key: str, *, name: str, label: str) -> Iterator[None]:
    """Leave ``key`` out of ``group``, a part of the result, with a warning if it cannot be copied.

    Parameters
    ----------
    name, label
        Of the element and of the input, for the warning.
    """
    was_there = key in group
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the result cannot be written
            raise
        if key in group and not was_there:
            del group[key]  # the part that was written
        reason = reason_in_short(error)
        _log.warning("%s: %s is left out, because it cannot be kept: %s", label, name, reason)


def leave_out(label: str, table: str, column: object, why: Exception | str) -> str:
    """Warn of a column that is left out, and return the reason."""
    reason = why if isinstance(why, str) else reason_in_short(why)
    _log.warning(
        "%s: %s[%r] is left out, because it cannot be kept: %s", label, table, str(column), reason
    )
    return reason


def reason_in_short(error: Exception) -> str:
    """Return the kind of an error and its text, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}".strip(": ")


def why_left_out(table: pd.DataFrame, column: str) -> str | None:
    """Return why a column of the input is not in its table; None if it is, or never was."""
    return reasons_of(table).get(column)


def reasons_of(table: pd.DataFrame) -> dict[str, str]:
    """Return why columns of the input are not in its table, by their names."""
    return dict(table.attrs.get(_LEFT_OUT, {}))


def with_reasons(table: pd.DataFrame, left_out: dict[str, str]) -> pd.DataFrame:
    """Return the table, which keeps why columns were left out of it."""
    if left_out:
        table.attrs = {**table.attrs, _LEFT_OUT: {**reasons_of(table), **left_out}}
    return table
