"""Copy what the input holds besides the tables into the result: obsm, varm, obsp, uns, and X, raw and layers.

Arrays and compressed matrices are copied in blocks, in their own dtype. A slot that cannot be copied is left out, with
a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from anndata.io import read_elem, write_elem
from scipy import sparse

from scrcl.errors import ScrclError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    import pandas as pd

    from scrcl.typing import IntArray

__all__ = ["Kept", "copy_images", "copy_slots", "free_name", "slot_bytes"]

_BLOCK_BYTES = 16 << 20
_BLOCK_VALUES = 1 << 20
_COMPRESSED = ("csr_matrix", "csc_matrix")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What of an input is kept.

    Parameters
    ----------
    source
        Root group of the store, or the AnnData in memory.
    rows
        Positions of the cells that are kept, ascending.
    n_obs, n_vars
        Cells of the input, and genes of the result. Slots of another size are left out; those of genes also with None,
        which says that the genes of the result are not those of X.
    label
        Name of the input, for warnings.
    with_values
        Whether X, layers and raw are copied.
    """

    source: Any
    rows: IntArray
    n_obs: int
    n_vars: int | None
    label: str
    with_values: bool = False

    @property
    def taken(self) -> IntArray | None:
        """The rows; None if these are all."""
        return None if len(self.rows) == self.n_obs else self.rows


@dataclass(frozen=True)
class _Slot:
    """An element to copy, and the axes that belong to cells."""

    name: str
    element: Any
    shape: tuple[int | None, ...]
    cell_axes: tuple[int, ...]


def copy_slots(kept: Kept, target: Any) -> None:
    """Copy the slots of an input into a result that has none of the same name; ours are left as they are.

    Parameters
    ----------
    target
        Root group of the result, open for writing.
    """
    for slot in _slots(kept):
        parent, _, key = slot.name.rpartition("/")
        group = target.require_group(parent) if parent else target
        try:
            name = free_name(group, key) if parent in ("obsm", "varm", "obsp", "uns") else key
            if name in group and group[name].attrs.get("encoding-type") == "null":
                del group[name]  # a store says so that it has no X or raw
            if name in group:  # the run's own
                continue
            _require_shape(slot)
            _copy(slot.element, group, name, kept.taken, slot.cell_axes)
            if name != key:
                _log.warning(
                    "%s: %s[%r] is kept as %r, as the run has its own",
                    kept.label,
                    parent,
                    key,
                    name,
                )
        except ScrclError:
            raise
        except OSError as error:
            if error.errno is not None:  # the result cannot be written
                raise
            _leave_out(kept, slot.name, error)
        except Exception as error:  # noqa: BLE001
            _leave_out(kept, slot.name, error)


def copy_images(sources: Sequence[Any], target: Any) -> None:
    """Copy ``uns["spatial"]`` of several samples: the tissue images of each library, the first of a name."""
    for source in sources:
        uns = _part(source, "uns")
        spatial = uns["spatial"] if uns is not None and "spatial" in uns else {}
        for library in spatial if hasattr(spatial, "keys") else ():
            group = target.require_group("uns/spatial")
            group.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
            if library not in group:
                _copy(spatial[library], group, str(library), None, ())


def slot_bytes(kept: Kept) -> int:
    """Return about how many bytes the slots take, for the room that they need."""
    return sum(_bytes(slot.element) for slot in _slots(kept))


def _leave_out(kept: Kept, name: str, error: Exception) -> None:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    _log.warning("%s: %s is left out, because it cannot be kept: %s", kept.label, name, reason)


def _slots(kept: Kept) -> Iterator[_Slot]:
    """Yield what is copied. Keys that a run of scrcl wrote are not."""
    source, n, genes = kept.source, kept.n_obs, kept.n_vars
    ours = _earlier_keys(source)
    of_cells = [("obsm", (n,), (0,)), ("obsp", (n, n), (0, 1))]
    of_genes = [] if genes is None else [("varm", (genes,), ()), ("varp", (genes, genes), ())]
    for group, shape, axes in of_cells + of_genes:  # fmt: skip
        for key in _keys(source, group):
            if not (key in ours or key.startswith("scrcl_")):
                yield _Slot(f"{group}/{key}", _part(source, group)[key], shape, axes)
    for key in _keys(source, "uns"):
        if key not in (ours | {"scrcl", "scrcl_colors"}):
            yield _Slot(f"uns/{key}", _part(source, "uns")[key], (), ())
    if not kept.with_values:
        return
    x = _part(source, "X")
    if x is not None:
        yield _Slot("X", x, (n, genes), (0,))
    for key in _keys(source, "layers"):
        yield _Slot(f"layers/{key}", _part(source, "layers")[key], (n, genes), (0,))
    raw = _part(source, "raw")
    if raw is not None:
        yield _Slot("raw", raw, (), (0,))


def _part(source: Any, name: str) -> Any:
    if isinstance(source, h5py.Group) or hasattr(source, "members"):
        return source[name] if name in source else None  # noqa: SIM401
    return getattr(source, name)


def _keys(source: Any, name: str) -> list[str]:
    part = _part(source, name)
    return [] if part is None else list(map(str, part.keys()))


def _earlier_keys(source: Any) -> set[str]:
    """Return the keys of obsm, varm and uns that an earlier run wrote."""
    uns = _part(source, "uns")
    if uns is None or "scrcl" not in uns:
        return set()
    found: set[str] = set()
    try:
        for slot in ("obsm", "varm", "uns"):
            names = uns["scrcl"][f"{slot}_keys"]
            found |= set(map(str, read_elem(names) if hasattr(names, "attrs") else names))
    except Exception:  # noqa: BLE001 - another program's "scrcl"
        return found
    return found


def free_name(taken: Container[str], key: str) -> str:
    """Return the key, or with a suffix if it is taken: the name of what the user has under a key of the run."""
    name = key
    while name in taken:
        name += "_in_file"
    return name


def _require_shape(slot: _Slot) -> None:
    shape = _shape(slot.element) if slot.shape else ()
    for axis, needed in enumerate(slot.shape):
        if shape is None or len(shape) <= axis or shape[axis] != needed:
            message = f"it has the shape {shape}, not {slot.shape} at the front"
            raise ValueError(message)


def _shape(element: Any) -> tuple[int, ...] | None:
    if hasattr(element, "shape"):
        return None if element.shape is None else tuple(map(int, element.shape))
    attributes = element.attrs
    if "shape" in attributes:
        return tuple(map(int, attributes["shape"]))
    if attributes.get("encoding-type") == "dataframe":
        names = element[attributes["_index"]]
        return (int(names.shape[0]), len(attributes["column-order"]))
    return None


def _bytes(element: Any) -> int:
    if hasattr(element, "dtype") and hasattr(element, "shape"):
        # HDF5 keeps a None, such as scanpy's base of the logarithm, as an empty dataset.
        if element.shape is None:
            return 0
        size = int(np.prod(element.shape, dtype=np.int64))
        return size * max(
            int(getattr(element.dtype, "itemsize", 8)), 8 if element.dtype == object else 1
        )
    if sparse.issparse(element):
        return int(element.data.nbytes + element.indices.nbytes + element.indptr.nbytes)
    if isinstance(element, Mapping) or (hasattr(element, "attrs") and hasattr(element, "keys")):
        return sum(_bytes(element[key]) for key in element)
    return 0


def _copy(
    element: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    """Copy an element; ``axes`` are those of cells, of which ``rows`` are taken (None: all)."""
    if not hasattr(element, "attrs") or not _on_disk(element):
        _write_from_memory(element, group, name, rows, axes)
        return
    taken = rows if axes else None
    encoding = element.attrs.get("encoding-type", "")
    if (
        taken is None
        and isinstance(element, h5py.Group | h5py.Dataset)
        and isinstance(group, h5py.Group)
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
        _copy_array(element, group, name, taken, axes)
    elif encoding == "raw":
        inner = group.create_group(name)
        inner.attrs.update(dict(element.attrs))
        for key in element:
            _copy(element[key], inner, key, taken, axes if key == "X" else ())
    else:
        values = read_elem(element)
        write_elem(group, name, values if taken is None else _take(values, taken, axes))


def _on_disk(element: Any) -> bool:
    return isinstance(element, h5py.Group | h5py.Dataset) or hasattr(element, "metadata")


def _write_from_memory(
    element: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    from anndata import AnnData, Raw

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


def _copy_array(
    array: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    n_rows = array.shape[0] if rows is None else len(rows)
    shape = (n_rows, *array.shape[1:])
    if 1 in axes and rows is not None:
        shape = (n_rows, n_rows, *array.shape[2:])
    row_bytes = max(int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize, 1)
    step = max(_BLOCK_BYTES // row_bytes, 1)
    target = _create(group, name, shape, array.dtype, (min(step, max(n_rows, 1)), *shape[1:]))
    target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    done = 0
    for start in range(0, array.shape[0], step):
        block = np.asarray(array[start : start + step])
        if rows is not None:
            low, high = np.searchsorted(rows, [start, start + step])
            block = block[rows[low:high] - start]
            block = block[:, rows] if 1 in axes else block
        target[done : done + len(block)] = block
        done += len(block)


def _copy_compressed(
    source: Any, group: Any, name: str, rows: IntArray | None, axes: tuple[int, ...]
) -> None:
    """Copy a CSR or CSC matrix in blocks of its stored values, and take ``rows`` on the ``axes``."""
    is_csr = source.attrs["encoding-type"] == "csr_matrix"
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
    for first, last in _major_blocks(indptr):
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


def _major_blocks(indptr: IntArray) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows (CSR) or columns (CSC) with about a million values."""
    first, n = 0, len(indptr) - 1
    while first < n:
        last = int(np.searchsorted(indptr, indptr[first] + _BLOCK_VALUES, side="right")) - 1
        last = min(max(last, first + 1), n)
        yield first, last
        first = last


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
