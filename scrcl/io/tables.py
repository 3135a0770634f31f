"""Tables of cells and genes on disk: reading them, and checking them a piece at a time.

Columns that cannot be read are left out, with a warning. The names of cells and genes are always needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem

from scrcl._warnings import logger_of
from scrcl.errors import ScrclError, StoreError
from scrcl.io.attributes import text_attribute, text_list
from scrcl.io.hdf5_filters import require_filters
from scrcl.io.left_out import leave_out, reason_in_short, with_reasons
from scrcl.io.storable import NAMELESS_KINDS, unstorable_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.typing import IntArray

__all__ = [
    "arrays_of",
    "check_table",
    "read_column",
    "read_names",
    "read_table",
    "stored_names",
]

_CHECK_ROWS = 65_536
_NUMBERS = "biufcM"
_CATEGORIES = "__categories"

_log = logger_of(__name__)


def read_table(group: Any, *, name: str, label: str) -> pd.DataFrame:
    """Read a data frame of an AnnData store, column by column.

    Parameters
    ----------
    group
        The group on disk.
    name, label
        Name of the table (``"obs"``) and of the input, for messages.

    Raises
    ------
    StoreError
        The names of the rows cannot be read.
    """
    index = read_names(group, name=name, label=label)
    columns, left_out = {}, {}
    for column in _column_names(group):
        try:
            _require_filters(group[column], label)
            values = read_column(group, column)
            _require_length(values, len(index))
            columns[column] = values
        except Exception as error:  # noqa: BLE001
            left_out[column] = leave_out(label, name, column, error)
    table = with_reasons(pd.DataFrame(columns, index=index), left_out)
    key = text_attribute(group, "_index")
    return table.rename_axis(None if key == "_index" else key)


def read_column(group: Any, column: str) -> Any:
    """Return a column of a data frame of an AnnData store, also of one that anndata 0.7 wrote."""
    found = _earlier_categories(group, column)
    if found is None:
        return read_elem(group[column])
    codes: Any = _known_codes(np.asarray(group[column][...]))
    ordered = bool(found.attrs.get("ordered", False))
    return pd.Categorical.from_codes(codes, read_elem(found), ordered=ordered)


def _known_codes(codes: IntArray) -> IntArray:
    """Return codes, -1 for missing values. R has the smallest whole number for them."""
    known: IntArray = np.where(codes == np.iinfo(np.int32).min, -1, codes)
    return known


def _earlier_categories(group: Any, column: str) -> Any:
    """Return the categories of a column of codes as anndata 0.7 wrote it; None of others.

    The column refers to them. SeuratDisk leaves that out, so they are known by the name of the column alone.
    """
    element = group[column]
    if not hasattr(element, "shape"):
        return None
    if "categories" in element.attrs:
        return group[element.attrs["categories"]]
    is_coded = element.dtype.kind in "iu" and column in group.get(_CATEGORIES, ())
    return group[_CATEGORIES][column] if is_coded else None


def stored_names(group: Any, *, name: str, label: str) -> Any:
    """Return the array on disk that names the rows of a data frame; arguments and errors as for `read_names`."""
    return group[_index_key(group, name, label)]


def read_names(group: Any, *, name: str, label: str) -> pd.Index:
    """Return the names of the rows of a data frame of an AnnData store, as text; arguments as for `read_table`.

    Raises
    ------
    StoreError
        They cannot be read.
    """
    key = _index_key(group, name, label)
    try:
        names = np.asarray(read_elem(group[key]))
        _require_text(names)
        if names.dtype.kind == "S":
            names = np.char.decode(names, "utf-8")
        texts = pd.Index(names.astype(object))
        return texts.map(str).where(texts.notna(), "")
    except Exception as error:
        raise _unreadable_names(f"{name}/{key}", label, error) from error


def check_table(group: Any, *, name: str, label: str, n_rows: int) -> None:
    """Read a data frame on disk a piece at a time, to know now what `read_table` will find later.

    It is never held whole, because the names of all cells can take more memory than anything else.

    Raises
    ------
    StoreError
        The names of the rows cannot be read, or their number is wrong.
    """
    key = _index_key(group, name, label)
    try:
        _require_text(group[key])
        _check_element(group, key, n_rows)
    except Exception as error:
        raise _unreadable_names(f"{name}/{key}", label, error) from error
    for column in _column_names(group):
        try:
            _require_filters(group[column], label)
            _check_element(group, column, n_rows)
            _warn_of_missing_chunks(group[column], f"{name}[{column!r}]", label)
        except Exception as error:  # noqa: BLE001
            leave_out(label, name, column, error)


def _index_key(group: Any, name: str, label: str) -> str:
    key = text_attribute(group, "_index")
    if key is None or key not in group:
        found = group.attrs.get("_index")
        message = f"{label} must name its rows in {name}; got {found!r} as the column of names. Write the file again."
        raise StoreError(message)
    return key


def _require_text(names: Any) -> None:
    """Refuse names that are neither text nor whole numbers."""
    kind = getattr(getattr(names, "dtype", None), "kind", "O")
    if kind in NAMELESS_KINDS:
        message = f"it has values of type {names.dtype}, which name nothing"
        raise ValueError(message)


def _column_names(group: Any) -> list[str]:
    """Return the names of the columns; of a table that does not list them, all members that can be one."""
    listed, key = text_list(group, "column-order"), text_attribute(group, "_index")
    if listed is not None:
        return listed
    return [name for name in group if name not in (key, _CATEGORIES)]


def _unreadable_names(where: str, label: str, error: Exception) -> ScrclError:
    if isinstance(error, ScrclError):
        return error
    found = reason_in_short(error)
    message = (
        f"{where} of {label} must be readable, as it names the rows; got {found}. Repair the names."
    )
    return StoreError(message)


def _require_length(values: Any, n_rows: int) -> None:
    if np.shape(values) != (n_rows,):
        message = f"it has the shape {np.shape(values)} for {n_rows:,} rows"
        raise ValueError(message)


def _check_element(group: Any, column: str, n_rows: int) -> None:
    """Read a column a piece at a time; raises whatever is wrong with it."""
    element, earlier = group[column], _earlier_categories(group, column)
    encoding = text_attribute(element, "encoding-type") or "array"
    if earlier is not None:
        _check_codes(element, earlier, n_rows)
    elif encoding in ("array", "string-array") and hasattr(element, "shape"):
        _check_array(element, n_rows)
    elif encoding == "categorical":
        _check_codes(element["codes"], element["categories"], n_rows)
    elif encoding in ("nullable-integer", "nullable-boolean"):
        for part in ("values", "mask"):
            _check_array(element[part], n_rows)
    else:  # anndata knows more kinds, and refuses those that it does not know
        _require_length(read_elem(element), n_rows)


def _check_array(array: Any, n_rows: int) -> None:
    _require_length(array, n_rows)
    for piece in _pieces(array):
        if piece.dtype.kind not in _NUMBERS:
            _check_texts(piece)


def _check_codes(codes: Any, stored_categories: Any, n_rows: int) -> None:
    categories = read_elem(stored_categories)
    if len(pd.unique(pd.Series(categories))) != len(categories):
        message = "its categories repeat"
        raise ValueError(message)
    if np.asarray(categories).dtype.kind not in _NUMBERS:
        _check_texts(categories)
    _require_length(codes, n_rows)
    for piece in _pieces(codes):
        known = _known_codes(piece)
        if not -1 <= known.min() <= known.max() < len(categories):
            message = f"it has codes outside of its {len(categories):,} categories"
            raise ValueError(message)


def _require_filters(element: Any, label: str) -> None:
    for array in arrays_of(element):
        require_filters(array, label=label)


def _warn_of_missing_chunks(element: Any, name: str, label: str) -> None:
    """Say which chunks of a Zarr are not there. They may be lost, or hold nothing but the fill value."""
    for array in arrays_of(element):
        if isinstance(array, zarr.Array) and array.nchunks_initialized < array.nchunks:
            _log.warning(
                "%s: %d of %d chunks of %s are missing (in %s): their cells get the value %r. If the store was not "
                "written so, copy or download it again",
                label,
                array.nchunks - array.nchunks_initialized,
                array.nchunks,
                name,
                array.path,
                array.fill_value.item(),
            )


def arrays_of(element: Any) -> Iterator[Any]:
    """Yield the arrays of a column: itself, or its parts."""
    if hasattr(element, "shape"):
        yield element
    else:
        for key in element:
            yield from arrays_of(element[key])


def _pieces(array: Any) -> Iterator[np.ndarray]:
    for start in range(0, array.shape[0], _CHECK_ROWS):
        yield np.asarray(array[start : start + _CHECK_ROWS])


def _check_texts(piece: Any) -> None:
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in piece]
    fault = unstorable_text(texts)
    if fault is not None:
        message = f"{fault[0]!r} holds {fault[1]}"
        raise ValueError(message)
