"""Tables in memory: the columns and names that a result can hold. Other columns are left out, with a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scrcl.errors import InputError
from scrcl.io.left_out import leave_out, with_reasons

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NAMELESS_KINDS", "storable_part", "unstorable_text"]

NAMELESS_KINDS = "bfcmMV"
"""Kinds of values that are no names: numbers with fractions, dates, records."""


def storable_part(table: pd.DataFrame, *, name: str, kind: str, label: str) -> pd.DataFrame:
    """Return the columns of a table in memory that a result can hold.

    Lists, sets and mappings in a column become text, as in a result.

    Parameters
    ----------
    name, kind, label
        Name of the table (``"obs"``), of its rows (``"cell"``), and of the input, for messages.

    Raises
    ------
    InputError
        The name of a row cannot be stored: it holds a NUL or half of a surrogate pair.
    """
    names = table.index
    if names.nlevels > 1 or names.dtype.kind in NAMELESS_KINDS:
        found = (
            f"{names.nlevels} names for each"
            if names.nlevels > 1
            else f"values of type {names.dtype}"
        )
        message = f"{kind} names of {label} must be text or whole numbers; got {found} in {name}. Rename them."
        raise InputError(message)
    fault = unstorable_text(names.astype(str))
    if fault is not None:
        text, why = fault
        message = f"{kind} names of {label} must be plain text; got {text!r} in {name}, with {why}. Rename it."
        raise InputError(message)
    kept, left_out = [], {}
    for position, column in enumerate(table.columns):
        reason = _fault_of_column(str(column), table.iloc[:, position])
        if reason is None:
            kept.append(position)
        else:
            left_out[str(column)] = leave_out(label, name, column, reason)
    part = with_reasons(table.iloc[:, kept], left_out) if left_out else table
    return _without_objects(part)


def _without_objects(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with values that cannot be compared or counted, such as lists, as text."""
    changed = table.copy(deep=False)
    for position in range(table.shape[1]):
        values = table.iloc[:, position]
        if values.dtype.kind != "O" or not pd.api.types.infer_dtype(values).startswith("mixed"):
            continue
        if not all(map(_is_hashable, values)):
            texts = [value if _is_hashable(value) else str(value) for value in values]
            changed.isetitem(position, pd.Series(texts, dtype=object).array)
    return changed


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _fault_of_column(name: str, column: pd.Series) -> str | None:
    if name in ("", ".", ".."):
        return "no file can hold a column of that name"
    texts: Iterable[Any] = [name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        texts = [name, *column.cat.categories.astype(str)]
    elif column.dtype.kind == "O" or isinstance(column.dtype, pd.StringDtype):
        texts = [name, *column.dropna().astype(str).unique()]
    fault = unstorable_text(texts)
    return None if fault is None else f"{fault[0]!r} holds {fault[1]}"


def unstorable_text(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return the first text that HDF5 cannot hold, and what is wrong with it."""
    texts = list(texts)
    if not _why_unstorable("\n".join(texts)):
        return None
    return next((text, why) for text in texts if (why := _why_unstorable(text)))


def _why_unstorable(text: str) -> str:
    if "\0" in text:
        return "a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return ""
