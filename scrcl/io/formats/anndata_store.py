"""AnnData stores on disk, HDF5 or Zarr. Both hold the same tree of elements, which anndata reads."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from scrcl.errors import InputError, StoreError
from scrcl.io.attributes import text_attribute
from scrcl.io.coordinates import Coordinates, coordinate_keys, read_coordinates
from scrcl.io.formats.element import (
    CompressedRows,
    DenseRows,
    is_zarr,
    require_sparse,
    store_root,
    zip_root,
)
from scrcl.io.hdf5_filters import require_filters
from scrcl.io.identity import file_identity
from scrcl.io.matrix import CellMatrix, Layout
from scrcl.io.rows import rows_from_reader
from scrcl.io.stream import damage_named
from scrcl.io.tables import arrays_of, check_table, read_names, read_table, stored_names
from scrcl.io.transpose import CompressedColumns, Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da
    import pandas as pd

    from scrcl.io.coordinates import CellCoordinates

__all__ = ["open_matrix", "read_obs", "read_var", "recognizes"]

_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_PARTS = ("data", "indices", "indptr")
_HOLDERS = ("mod", "tables", "table")
"""Groups of MuData and SpatialData whose members are AnnData."""

_LAYOUTS: dict[str, Layout] = {"csr_matrix": "csr", "csc_matrix": "csc", "array": "dense"}


def recognizes(path: Path, file: h5py.File | None) -> bool:
    """Return whether the path is a Zarr (zipped or not), or an HDF5 file with groups ``obs`` or ``var``."""
    if file is not None:
        return any(isinstance(file.get(name), h5py.Group) for name in ("obs", "var"))
    if path.is_file():
        return zipfile.is_zipfile(path) and zip_root(path) is not None
    return any((path / name).exists() for name in _ZARR_MARKS)


def open_matrix(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix of an ``.h5ad`` or AnnData ``.zarr``; see `scrcl.io.open.open_input`."""
    with _root(path) as root:
        return _describe(path, root, layer, scratch)


def read_obs(path: Path, *, whole: bool = False) -> pd.DataFrame:
    """Return ``obs`` of an AnnData store.

    Parameters
    ----------
    whole
        Whether chunks that are missing are lost, as in the stores that scrcl writes: it writes those of zeros too.

    Raises
    ------
    StoreError
        The store is missing or damaged.
    """
    with _root(path) as root:
        if whole:
            _require_chunks(path, list(arrays_of(root["obs"])))
        return read_table(root["obs"], name="obs", label=path.name)


def read_var(path: Path) -> pd.DataFrame:
    """Return ``var`` of an AnnData store.

    Raises
    ------
    StoreError
        The store is missing or damaged.
    """
    with _root(path) as root:
        return read_table(root["var"], name="var", label=path.name)


def _check_obs(path: Path, n_obs: int) -> None:
    """Read all of ``obs`` a piece at a time. Raises StoreError if the names of the cells are damaged."""
    with _root(path) as root:
        check_table(root["obs"], name="obs", label=path.name, n_rows=n_obs)


def stored_coordinates(path: Path, n_obs: int) -> Coordinates:
    """Return the coordinates of an AnnData store, by their keys in obsm."""
    with _root(path) as root:
        return Coordinates(
            coordinate_keys(root.get("obsm", {})), partial(_read_coordinates, path, n_obs)
        )


def _read_coordinates(path: Path, n_obs: int, key: str) -> CellCoordinates:
    with _root(path) as root:

        def cells() -> pd.Index:
            return read_names(root["obs"], name="obs", label=path.name)

        return read_coordinates(root["obsm"], key, n_obs=n_obs, cells=cells, label=path.name)


@contextmanager
def _root(path: Path) -> Iterator[Any]:
    """Open the root group of a store. Errors of a damaged one become StoreError."""
    with damage_named(f"{path} must be a complete AnnData store"), store_root(path) as root:
        yield root


def _describe(path: Path, root: Any, layer: str | None, scratch: Scratch) -> CellMatrix:
    _require_one_anndata(path, root)
    name = _element_name(path, root, layer)
    element = root[name]
    layout = _layout(path, name, element)
    n_obs, n_vars = shape = _shape(path, name, element)
    if layout != "dense":
        require_sparse(element, name=name, label=path.name)
    values = element if layout == "dense" else element["data"]
    var_name = "raw/var" if name == "raw/X" else "var"
    _require_genes(path, root, var_name)
    names = [stored_names(root[name], name=name, label=path.name) for name in ("obs", var_name)]
    for array in (*names, *([element] if layout == "dense" else map(element.get, _PARTS))):
        require_filters(array, label=path.name)
    _require_chunks(path, names)
    _require_length(path, names[0], n_obs)
    if layout != "dense":
        _require_chunks(path, [element["data"], element["indices"]])
    nnz = None if layout == "dense" else int(values.shape[0])
    identity = file_identity(path, shape=shape, layer=layer)
    read = (DenseRows if layout == "dense" else CompressedRows)(path, name, shape)

    def rows(block_rows: int) -> da.Array:
        if layout == "csc":
            source = partial(_columns, path, name)
            return scratch.row_major(source, label=path.name, identity=identity).x(block_rows)
        return rows_from_reader(read, shape=shape, block_rows=block_rows)

    return CellMatrix(
        label=path.name,
        n_obs=n_obs,
        n_vars=n_vars,
        dtype=np.dtype(values.dtype),
        layout=layout,
        nnz=nnz,
        chunk_rows=_chunk_rows(values, shape[0], nnz) if layout != "csc" else None,
        var=read_table(root[var_name], name=var_name, label=path.name),
        load_obs=partial(read_obs, path),
        load_obsm=partial(stored_coordinates, path, n_obs),
        check_obs=partial(_check_obs, path, n_obs),
        layers=_layer_names(root),
        sources=(partial(store_root, path),),
        identity=identity,
        rows=rows,
    )


def _require_one_anndata(path: Path, root: Any) -> None:
    """Refuse a store that is no AnnData. If it holds some, as those of several modalities do, name them."""
    inner = _anndata_within(root)
    if text_attribute(root, "encoding-type") == "MuData" or (inner and "X" not in root):
        is_mudata, names = "mod" in root, [name.rpartition("/")[2] for name in inner]
        kind = "a MuData file of the modalities" if is_mudata else "a store of several tables,"
        first = next(
            (name for name in ("rna", "gex") if name in names), names[0] if names else "rna"
        )
        remedy = (
            f"Give the path of one, as {path / inner[0]}."
            if is_zarr(path) and inner
            else f"Extract one to a file of its own: mudata.read('{path.name}')['{first}'].write_h5ad('{first}.h5ad')."
        )
        message = f"{path} must hold one AnnData; got {kind} {', '.join(names) or 'none'}. {remedy}"
        raise StoreError(message)
    if "obs" not in root or "var" not in root:
        message = (
            f"{path} must be an AnnData store with obs and var; it holds "
            f"{', '.join(sorted(root.keys())) or 'nothing'}. Convert it with anndata first."
        )
        raise StoreError(message)


def _require_genes(path: Path, root: Any, name: str) -> None:
    if name not in root:
        found = ", ".join(sorted(root["raw"].keys()))
        message = (
            f"raw of {path.name} must have var, the names of its genes; it has {found}. "
            "Choose another matrix with `layer`, or write raw again."
        )
        raise StoreError(message)


def _anndata_within(root: Any) -> list[str]:
    """Return the groups two levels down that hold an AnnData, as ``mod/rna`` in MuData and tables in SpatialData."""
    return [
        f"{name}/{key}"
        for name in _HOLDERS
        if hasattr(root.get(name), "keys")
        for key in sorted(root[name].keys())
        if hasattr(root[name][key], "keys") and {"obs", "var"} <= set(root[name][key].keys())
    ]


def _require_chunks(path: Path, arrays: list[Any]) -> None:
    """Raise StoreError if a chunk is missing. Zarr would read it as zeros or empty names."""
    for array in arrays:
        if isinstance(array, zarr.Array) and array.nchunks_initialized < array.nchunks:
            message = (
                f"{path} must be complete; {array.nchunks - array.nchunks_initialized:,} of "
                f"{array.nchunks:,} chunks of {array.path} are missing. Copy or download it again."
            )
            raise StoreError(message)


def _require_length(path: Path, names: Any, n_obs: int) -> None:
    n_names = names.shape[0] if hasattr(names, "shape") else n_obs
    if n_names != n_obs:
        message = (
            f"{path} must name each cell; got {n_names:,} names for {n_obs:,} rows of values. "
            "Write the file again."
        )
        raise StoreError(message)


def _element_name(path: Path, root: Any, layer: str | None) -> str:
    """Return the name of the matrix in the tree of elements."""
    names: dict[str | None, str] = {}
    if "X" in root:
        names[None] = "X"
    names |= {key: f"layers/{key}" if key != "raw" else "raw/X" for key in _layer_names(root)}
    if layer in names:
        return names[layer]
    layers = ", ".join(_layer_names(root)) or "none"
    if layer is None and "uns" in root and "scrcl" in root["uns"]:
        message = (
            f"{path.name} must have X; it is the result of a run without it. Give the input of that run, whose path is "
            "in run.json next to the result, or run with `keep_x=True`."
        )
    elif layer is None:
        message = (
            f"{path.name} must have X; it has none. Choose one with `layer`. Layers: {layers}."
        )
    else:
        message = f"layer must exist in {path.name}; got {layer!r}. Layers: {layers}."
    raise InputError(message)


def _layer_names(root: Any) -> tuple[str, ...]:
    """Return the names of the other matrices: ``raw`` and the layers."""
    raw = ["raw"] if "raw" in root and "X" in root["raw"] else []
    return (*raw, *sorted(root["layers"].keys() if "layers" in root else ()))


def _layout(path: Path, name: str, element: Any) -> Layout:
    """Return the layout of an element. Old versions of anndata named it otherwise, or not at all if it was dense."""
    is_array = hasattr(element, "shape")
    encoding = text_attribute(element, "encoding-type") or (
        "array" if is_array else f"{text_attribute(element, 'h5sparse_format') or 'unknown'}_matrix"
    )
    layout = _LAYOUTS.get(encoding)
    if layout is None or is_array != (layout == "dense") or (is_array and element.ndim != 2):
        message = (
            f"{name} of {path.name} must be a sparse or dense matrix of cells by genes; got {encoding!r}. Read it with "
            "anndata and write it again."
        )
        raise StoreError(message)
    return layout


def _shape(path: Path, name: str, element: Any) -> tuple[int, int]:
    """Return cells and genes of a matrix, of which a sparse one has them as an attribute."""
    if hasattr(element, "shape"):
        n_obs, n_vars = element.shape
        return int(n_obs), int(n_vars)
    found = [element.attrs[key] for key in ("shape", "h5sparse_shape") if key in element.attrs]
    if not found:
        message = (
            f"{name} of {path.name} must have the attribute shape, its numbers of cells and genes; it has "
            f"{', '.join(sorted(element.attrs)) or 'no attributes'}. "
            "Read it with its own software, and write it with anndata."
        )
        raise StoreError(message)
    shape = np.asarray(found[0]).ravel()
    if shape.dtype.kind not in "iu" or len(shape) != 2 or shape.min() < 0:
        message = f"{name} of {path.name} must have two whole numbers as its shape; got {found[0]!r}. Repair it."
        raise StoreError(message)
    return int(shape[0]), int(shape[1])


def _chunk_rows(values: Any, n_obs: int, nnz: int | None) -> int | None:
    """Return roughly how many rows the store reads at once; None if it has no chunks."""
    chunks = getattr(values, "shards", None) or values.chunks
    if chunks is None:
        return None
    if nnz is None:
        return int(chunks[0])
    return max(min(int(chunks[0]) * n_obs // max(nnz, 1), n_obs), 1)


@contextmanager
def _columns(path: Path, name: str) -> Iterator[CompressedColumns]:
    with store_root(path) as root:
        group = root[name]
        yield CompressedColumns(
            group["data"],
            group["indices"],
            np.asarray(group["indptr"][...]).astype(np.int64),
            _shape(path, name, group),
            f"{name} of {path.name}",
        )
