"""Copy an element of an AnnData store, or of an AnnData in memory, into a store: some rows of it, in blocks.

Arrays and compressed matrices keep their own dtype.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData, Raw
from anndata.io import read_elem, write_elem

from scrcl.io.attributes import text_attribute, text_list
from scrcl.io.parts import row_groups
from scrcl.io.tables import read_column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrcl.typing import IntArray

__all__ = ["copy_arrays", "copy_element", "copy_table", "is_table", "require_readable"]

_BLOCK_BYTES = 16 << 20
_BLOCK_VALUES = 1 << 20
_COMPRESSED = ("csr_matrix", "csc_matrix")


def is_table(element: Any) -> bool:
    """Return whether an element is a data frame, in memory or on disk."""
    on_disk = text_attribute(element, "encoding-type") == "dataframe"
    return on_disk or isinstance(element, pd.DataFrame)


def copy_table(
    parts: Sequence[tuple[Any, IntArray]], group: Any, name: str, names: pd.Index
) -> None:
    """Copy rows of one or more tables below each other, a column at a time.

    Parameters
    ----------
    parts
        Data frames, in memory or on disk, and the positions of the rows of each: ndarray of int. Their columns are
        matched by name, in the order of the first.
    names
        Names of the rows in the copy.

    Raises
    ------
    ValueError
        A table lacks a column of another.
    """
    columns = _columns(parts[0][0])
    for table, _ in parts:
        if sorted(_columns(table)) != sorted(columns) or len(set(columns)) < len(columns):
            message = f"its columns are {', '.join(columns)} in one file and {', '.join(_columns(table))} in another"
            raise ValueError(message)
    write_elem(group, name, pd.DataFrame(index=names.astype(object)))
    copy = group[name]
    for column in columns:
        pieces = [_column(table, column).iloc[rows] for table, rows in parts]
        whole = _below_each_other(pieces)
        plain = isinstance(whole.dtype, np.dtype)
        write_elem(copy, column, whole.to_numpy() if plain else whole.array)
    if isinstance(copy, h5py.Group):
        listed = np.array(columns, dtype=object)
        copy.attrs.create("column-order", listed, dtype=h5py.string_dtype())
    else:
        copy.attrs["column-order"] = columns


def _columns(table: Any) -> list[str]:
    if isinstance(table, pd.DataFrame):
        return list(map(str, table.columns))
    return text_list(table, "column-order") or []


def _column(table: Any, column: str) -> pd.Series[Any]:
    if isinstance(table, pd.DataFrame):
        found: pd.Series[Any] = table.iloc[:, _columns(table).index(column)]
        return found
    return pd.Series(read_column(table, column))


def _below_each_other(pieces: list[pd.Series[Any]]) -> pd.Series[Any]:
    if len(pieces) == 1:
        return pieces[0]
    if all(isinstance(piece.dtype, pd.CategoricalDtype) for piece in pieces):
        return pd.Series(pd.api.types.union_categoricals(pieces, ignore_order=True))
    whole: pd.Series[Any] = pd.concat(pieces, ignore_index=True)
    return whole


def copy_element(
    element: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    """Copy an element; ``axes`` are those of cells, of which ``rows`` are taken (None: all)."""
    if not hasattr(element, "attrs") or not _on_disk(element):
        _write_from_memory(element, group, name, rows, axes)
        return
    taken = rows if axes else None
    encoding = text_attribute(element, "encoding-type") or ""
    if (
        taken is None
        and isinstance(element, h5py.Group | h5py.Dataset)
        and isinstance(group, h5py.Group)
        and not _has_references(element)
    ):
        element.file.copy(element, group, name)
    elif encoding in _COMPRESSED:
        _copy_compressed(element, group, name, taken, axes)
    elif (
        encoding in ("array", "")
        and hasattr(element, "shape")
        and element.ndim
        and element.dtype.kind in "biufc"
    ):
        copy_arrays([(element, taken)], group, name, both_axes=1 in axes)
    elif encoding == "raw":
        inner = group.create_group(name)
        inner.attrs.update(dict(element.attrs))
        for key in element:
            copy_element(element[key], inner, key, taken, axes if key == "X" else ())
    else:
        values = read_elem(element)
        write_elem(group, name, values if taken is None else _take(values, taken, axes))


def _has_references(element: Any) -> bool:
    """Return whether an HDF5 element holds a table of anndata 0.7, which refers to its categories. A copy would not."""
    found: list[str] = []
    if isinstance(element, h5py.Group):
        element.visit(lambda name: found.append(name) if name.endswith("__categories") else None)
    return bool(found)


def require_readable(element: Any) -> None:
    """Raise whatever anndata raises on an element on disk that it cannot read. Numbers are not read.

    Copied as it is, such an element would make the whole result unreadable.
    """
    if not _on_disk(element):
        return
    encoding = text_attribute(element, "encoding-type") or ""
    if getattr(element, "dtype", None) is not None and hasattr(element, "shape"):
        is_plain = encoding in ("array", "") and element.shape and element.dtype.kind in "biufc"
        if not is_plain:
            read_elem(element)
    elif encoding in ("dict", "raw", ""):
        for key in element:
            require_readable(element[key])
    elif encoding in _COMPRESSED:
        _require_whole(element)
    else:
        read_elem(element)


def _require_whole(matrix: Any) -> None:
    """Refuse a CSR or CSC matrix whose parts do not fit each other. Readers would go beyond their ends.

    One whose encoding is a list of one text is refused too: anndata cannot read it, nor the result that holds it.
    """
    if not isinstance(matrix.attrs["encoding-type"], str | bytes):
        message = f"its encoding is {matrix.attrs['encoding-type']!r}, which anndata does not read"
        raise TypeError(message)
    is_csr = text_attribute(matrix, "encoding-type") == "csr_matrix"
    n_lines = int(matrix.attrs["shape"][0 if is_csr else 1])
    indptr, sizes = matrix["indptr"], [int(matrix[key].shape[0]) for key in ("data", "indices")]
    last = int(indptr[-1]) if indptr.shape[0] == n_lines + 1 else -1
    if {*sizes, last} != {last}:
        message = (
            f"it has {sizes[0]:,} values, {sizes[1]:,} indices and {indptr.shape[0]:,} ends of {n_lines:,} rows or "
            "columns, which do not fit each other"
        )
        raise ValueError(message)


def _on_disk(element: Any) -> bool:
    return isinstance(element, h5py.HLObject) or hasattr(element, "metadata")


def _write_from_memory(
    element: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    if isinstance(element, Raw):
        x = element.X if rows is None else element.X[rows]
        only = AnnData(X=x, var=element.var, varm=dict(element.varm))
        only.obs_names = [str(i) for i in range(x.shape[0])]
        raw = group.require_group(name)
        raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
        for key, value in (("X", only.X), ("var", only.var), ("varm", dict(only.varm))):
            write_elem(raw, key, value)
        return
    write_elem(group, name, element if rows is None or not axes else _take(element, rows, axes))


def _take(values: Any, rows: IntArray, axes: tuple[int, ...]) -> Any:
    if hasattr(values, "iloc"):
        table: pd.DataFrame = values.iloc[rows]
        return table
    taken = values[rows]
    return taken[:, rows] if 1 in axes else taken


def copy_arrays(
    parts: Sequence[tuple[Any, IntArray | None]], group: Any, name: str, *, both_axes: bool = False
) -> None:
    """Copy rows of one or more arrays below each other, in blocks.

    Parameters
    ----------
    parts
        Arrays in memory or on disk, and the positions of the rows of each, ascending; None takes all.
    both_axes
        Whether the columns are cells too, so that the same of them are taken.

    Raises
    ------
    ValueError
        The arrays have rows of different shapes.
    """
    shapes = {array.shape[1:] for array, _ in parts}
    if len(shapes) > 1:
        message = f"its rows have the shapes {' and '.join(map(str, sorted(shapes)))}"
        raise ValueError(message)
    (inner,) = shapes
    dtype = np.result_type(*(array.dtype for array, _ in parts))
    sizes = [array.shape[0] if rows is None else len(rows) for array, rows in parts]
    shape = (sum(sizes), *inner)
    if both_axes and parts[0][1] is not None:
        shape = (sizes[0], sizes[0], *inner[1:])
    row_bytes = max(int(np.prod(inner, dtype=np.int64)) * dtype.itemsize, 1)
    step = max(_BLOCK_BYTES // row_bytes, 1)
    target = _create(group, name, shape, dtype, (min(step, max(shape[0], 1)), *shape[1:]))
    target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    done = 0
    for array, rows in parts:
        for start in range(0, array.shape[0], step):
            block = np.asarray(array[start : start + step])
            if rows is not None:
                low, high = np.searchsorted(rows, [start, start + step])
                block = block[rows[low:high] - start]
                block = block[:, rows] if both_axes else block
            target[done : done + len(block)] = block
            done += len(block)


def _copy_compressed(
    source: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    """Copy a CSR or CSC matrix in blocks of its stored values, and take ``rows`` on the ``axes``."""
    is_csr = text_attribute(source, "encoding-type") == "csr_matrix"
    shape = list(map(int, source.attrs["shape"]))
    major_axis, minor_axis = (0, 1) if is_csr else (1, 0)
    indptr = np.asarray(source["indptr"][...]).astype(np.int64)
    major = rows if rows is not None and major_axis in axes else None
    lookup = None
    if rows is not None and minor_axis in axes:
        lookup = np.full(shape[minor_axis], -1, dtype=np.int64)
        lookup[rows] = np.arange(len(rows))
    if rows is not None:
        for axis in axes:
            shape[axis] = len(rows)
    target = group.require_group(name)
    target.attrs.update({**dict(source.attrs), "shape": shape})
    append = {key: _appender(target, key, source[key].dtype) for key in ("data", "indices")}
    counts = []
    for first, last in pairwise(row_groups(indptr, _BLOCK_VALUES).tolist()):
        start, stop = int(indptr[first]), int(indptr[last])
        data, indices = (
            np.asarray(source["data"][start:stop]),
            np.asarray(source["indices"][start:stop]),
        )
        line = np.repeat(np.arange(first, last), np.diff(indptr[first : last + 1]))
        chosen = np.ones(len(data), dtype=bool)
        if major is not None:
            is_taken = np.isin(np.arange(first, last), major, assume_unique=True)
            chosen &= is_taken[line - first]
        if lookup is not None:
            moved = lookup[indices]
            chosen &= moved >= 0
            indices = moved.astype(indices.dtype)
        found = np.bincount(line[chosen] - first, minlength=last - first)
        counts.append(found if major is None else found[is_taken])
        append["data"](data[chosen])
        append["indices"](indices[chosen])
    ends = np.concatenate([[0], np.cumsum(np.concatenate([*counts, np.zeros(0, np.int64)]))])
    write = _create(
        target, "indptr", ends.shape, np.dtype(np.int64), (max(min(len(ends), 1 << 20), 1),)
    )
    write[:] = ends.astype(np.int64)
    write.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _create(
    group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]
) -> Any:
    chunks = tuple(max(each, 1) for each in chunks)
    if isinstance(group, h5py.Group):
        return group.create_dataset(name, shape=shape, dtype=dtype)
    return group.create_array(name, shape=shape, dtype=dtype, chunks=chunks)


def _appender(group: Any, name: str, dtype: np.dtype[Any]) -> Callable[[np.ndarray], None]:
    """Create an empty array that grows, and return what adds values to it."""
    if isinstance(group, h5py.Group):
        array = group.create_dataset(
            name, shape=(0,), maxshape=(None,), chunks=(1 << 16,), dtype=dtype
        )
    else:
        array = group.create_array(name, shape=(0,), chunks=(1 << 18,), dtype=dtype)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    def append(values: np.ndarray) -> None:
        start = int(array.shape[0])
        array.resize((start + len(values),))
        array[start:] = values

    return append
