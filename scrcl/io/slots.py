"""Copy what the input holds besides the tables into the result: obsm, varm, obsp, uns, and X, raw and layers.

Arrays and compressed matrices are copied in blocks, in their own dtype. A slot that cannot be copied is left out, with
a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from anndata.io import read_elem
from scipy import sparse

from scrcl._warnings import logger_of
from scrcl.io.attributes import text_attribute, text_list
from scrcl.io.coordinates import rows_by_name
from scrcl.io.copying import copy_element, copy_table, is_table, require_readable
from scrcl.io.left_out import left_out_if_faulty, reason_in_short
from scrcl.io.tables import read_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from scrcl.typing import IntArray

__all__ = [
    "Kept",
    "copy_images",
    "copy_slots",
    "described_slot",
    "earlier_keys",
    "element_of",
    "has_run",
    "keys_of",
    "named_rows",
    "row_names",
    "slot_bytes",
]

_log = logger_of(__name__)


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
    """Copy the slots of an input into a result; what the result has already is left as it is.

    Parameters
    ----------
    target
        Root group of the result, open for writing.
    """
    for slot in _slots(kept):
        parent, _, key = slot.name.rpartition("/")
        group = target.require_group(parent) if parent else target
        with left_out_if_faulty(group, key, name=slot.name, label=kept.label):
            if key in group and text_attribute(group[key], "encoding-type") == "null":
                del group[key]  # a store says so that it has no X or raw
            if key in group:  # the run's own
                continue
            if is_table(slot.element) and slot.shape:
                _copy_named(kept, slot, target, group, key)
            else:
                _require_shape(slot)
                if key == "raw":
                    _require_raw(slot.element, kept.n_obs)
                require_readable(slot.element)
                copy_element(slot.element, group, key, kept.taken, slot.cell_axes)


def copy_images(sources: Sequence[Any], target: Any) -> None:
    """Copy ``uns["spatial"]`` of several samples: the tissue images of each library, the first of a name."""
    for source in sources:
        spatial = dict(_entries(source, "uns")).get("spatial", {})
        for library in spatial if hasattr(spatial, "keys") else ():
            group = target.require_group("uns/spatial")
            group.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
            if library in group:
                continue
            try:
                require_readable(spatial[library])
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it
                _warn_unreadable(f"uns/spatial/{library}", error)
                continue
            copy_element(spatial[library], group, str(library), None, ())


def slot_bytes(kept: Kept) -> int:
    """Return about how many bytes the slots take, for the room that they need."""
    total = 0
    for slot in _slots(kept):
        with suppress(Exception):  # a damaged slot is left out when it is copied
            total += _bytes(slot.element)
    return total


def _copy_named(kept: Kept, slot: _Slot, target: Any, group: Any, name: str) -> None:
    """Copy a table of cells or genes, its rows matched by name, under the names that the result has."""
    axis = "obs" if slot.cell_axes else "var"
    rows = named_rows(kept, slot.element, slot.name, axis=axis)
    if axis == "var" and len(rows) != kept.n_vars:
        message = f"it is of {len(rows):,} genes, and the result has {kept.n_vars:,}"
        raise ValueError(message)
    copy_table([(slot.element, rows)], group, name, row_names(target[axis], axis, "the result"))


def named_rows(kept: Kept, table: Any, name: str, *, axis: str = "obs") -> IntArray:
    """Return where a table has the rows of the cells that are kept, or of all genes: by their names.

    Raises
    ------
    InputError
        They cannot be matched.
    """
    needed = row_names(element_of(kept.source, axis), axis, kept.label)
    found = rows_by_name(row_names(table, name, kept.label), needed, what=name, label=kept.label)
    return found[kept.rows] if axis == "obs" else found


def row_names(table: Any, name: str, label: str) -> pd.Index:
    """Return the names of the rows of a table, in memory or on disk."""
    return table.index if hasattr(table, "iloc") else read_names(table, name=name, label=label)


def _slots(kept: Kept) -> Iterator[_Slot]:
    """Yield what is copied. Keys that a run of scrcl wrote are not."""
    source, n, genes = kept.source, kept.n_obs, kept.n_vars
    of_cells = [("obsm", (n,), (0,)), ("obsp", (n, n), (0, 1))]
    of_genes = [] if genes is None else [("varm", (genes,), ()), ("varp", (genes, genes), ())]
    for group, shape, axes in of_cells + of_genes:  # fmt: skip
        for key, element in _entries(source, group):
            yield _Slot(f"{group}/{key}", element, shape, axes)
    for key, element in _entries(source, "uns"):
        yield _Slot(f"uns/{key}", element, (), ())
    if not kept.with_values:
        return
    for key, element in _entries(source, "layers"):
        yield _Slot(f"layers/{key}", element, (n, genes), (0,))
    matrices: list[tuple[str, tuple[int | None, ...]]] = [("X", (n, genes)), ("raw", ())]
    for name, needed in matrices:
        try:
            element = element_of(source, name)
        except Exception as error:  # noqa: BLE001
            _warn_unreadable(name, error)
            continue
        # A store of Zarr says by a null that it has none.
        if element is not None and text_attribute(element, "encoding-type") != "null":
            yield _Slot(name, element, needed, (0,))


def _entries(source: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what a slot holds. What cannot be opened is left out, with a warning."""
    for key in keys_of(source, name):
        try:
            yield key, element_of(source, name)[key]
        except Exception as error:  # noqa: BLE001
            _warn_unreadable(f"{name}/{key}", error)


def _warn_unreadable(name: str, error: Exception) -> None:
    _log.warning("%s is left out, because it cannot be read: %s", name, reason_in_short(error))


def element_of(source: Any, name: str) -> Any:
    """Return a slot of a store or of an AnnData in memory; None if there is none."""
    if isinstance(source, h5py.Group) or hasattr(source, "members"):
        return source[name] if name in source else None  # noqa: SIM401
    return getattr(source, name)


def keys_of(source: Any, name: str) -> list[str]:
    """Return the keys of a slot that no run of scrcl wrote; none where it cannot be read, with a warning."""
    try:
        part = element_of(source, name)
        keys = [] if part is None else list(map(str, part.keys()))
    except Exception as error:  # noqa: BLE001
        _warn_unreadable(name, error)
        return []
    if name == "layers":
        return keys
    ours = earlier_keys(source, name) | {"scrcl", "scrcl_colors"}
    return [key for key in keys if key not in ours and (name == "uns" or key[:6] != "scrcl_")]


def earlier_keys(source: Any, slot: str) -> set[str]:
    """Return the keys of a slot (obsm, varm, uns), or the columns of var, that an earlier run wrote."""
    try:
        uns = element_of(source, "uns")
        names = uns["scrcl"][f"{slot}_keys"]
        return set(map(str, read_elem(names) if hasattr(names, "attrs") else names))
    except Exception:  # noqa: BLE001 - there is none, or it is another program's "scrcl"
        return set()


def described_slot(source: Any, name: str, key: str) -> str:
    """Return in words what a slot holds under a key: "an array of float64, 240 by 1"; "none" where it holds nothing."""
    part = element_of(source, name)
    if part is None or key not in part:
        return "none"
    element = part[key]
    if is_table(element):
        columns = (
            element.columns if hasattr(element, "columns") else text_list(element, "column-order")
        )
        names = () if columns is None else map(str, columns)
        return f"a table with the columns {', '.join(names)}"
    dtype = getattr(element, "dtype", "unknown type")
    is_sparse = sparse.issparse(element) or hasattr(element, "keys")
    kind = "a sparse matrix" if is_sparse else f"an array of {dtype}"
    return f"{kind}, {' by '.join(map(str, _shape(element) or ()))}"


def has_run(source: Any) -> bool:
    """Return whether a run of scrcl wrote into a store or an AnnData."""
    try:
        return "scrcl" in element_of(source, "uns")
    except Exception:  # noqa: BLE001 - there is no uns, or it cannot be read
        return False


def _require_shape(slot: _Slot) -> None:
    shape = _shape(slot.element) if slot.shape else ()
    for axis, needed in enumerate(slot.shape):
        if shape is None or len(shape) <= axis or shape[axis] != needed:
            message = f"it has the shape {shape}, not {slot.shape} at the front"
            raise ValueError(message)


def _require_raw(raw: Any, n_obs: int) -> None:
    if hasattr(raw, "attrs") and hasattr(raw, "keys"):  # a store says by an array that it has none
        shape = _shape(raw["X"])
        if shape is None or shape[0] != n_obs:
            message = f"it has the shape {shape} for {n_obs:,} cells"
            raise ValueError(message)


def _shape(element: Any) -> tuple[int, ...] | None:
    if hasattr(element, "shape"):
        return None if element.shape is None else tuple(map(int, element.shape))
    attributes = element.attrs
    if "shape" in attributes:
        return tuple(map(int, attributes["shape"]))
    if text_attribute(element, "encoding-type") == "dataframe":
        names = element[text_attribute(element, "_index")]
        return (int(names.shape[0]), len(text_list(element, "column-order") or ()))
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
