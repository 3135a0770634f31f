"""AnnData on disk, HDF5 or zarr: the same tree of elements, read by anndata itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.experimental import read_elem_lazy
from anndata.io import read_elem

from scrcl.errors import InputError, ScrclError, StoreError
from scrcl.io.annotations import coordinates, with_unique_names
from scrcl.io.identity import file_identity
from scrcl.io.matrix import CellMatrix, Layout
from scrcl.io.transpose import CompressedColumns, Scratch

__all__ = ["open_h5ad", "open_zarr"]

_LAYOUTS: dict[str, Layout] = {"csr_matrix": "csr", "csc_matrix": "csc", "array": "dense"}


def open_h5ad(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix of an ``.h5ad`` file; see `scrcl.io.open.open_input`."""
    return _open(path, partial(_h5_root, path), layer, scratch)


def open_zarr(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
    """Return the matrix of an AnnData ``.zarr`` folder; see `scrcl.io.open.open_input`."""
    return _open(path, partial(_zarr_root, path), layer, scratch)


@contextmanager
def _h5_root(path: Path) -> Iterator[Any]:
    with h5py.File(path, "r") as file:
        yield file


@contextmanager
def _zarr_root(path: Path) -> Iterator[Any]:
    yield zarr.open_group(path, mode="r")


def _open(path: Path, root_of: Any, layer: str | None, scratch: Scratch) -> CellMatrix:
    try:
        with root_of() as root:
            return _describe(path, root, root_of, layer, scratch)
    except ScrclError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        msg = (
            f"{path} must be a whole AnnData store; got {type(error).__name__}: {error}. Copy or "
            "download it again."
        )
        raise StoreError(msg) from error


def _describe(
    path: Path, root: Any, root_of: Any, layer: str | None, scratch: Scratch
) -> CellMatrix:
    if "obs" not in root or "var" not in root:
        msg = (
            f"{path} must be an AnnData store, with obs and var; it holds "
            f"{', '.join(sorted(root.keys())) or 'nothing'}. Convert it with anndata first."
        )
        raise StoreError(msg)
    name = _element_name(path, root, layer)
    element = root[name]
    layout = _layout(path, name, element)
    shape = tuple(int(n) for n in (element.shape if layout == "dense" else element.attrs["shape"]))
    values = element if layout == "dense" else element["data"]
    nnz = None if layout == "dense" else int(values.shape[0])
    identity = file_identity(path, shape=shape, layer=layer)

    def rows(block_rows: int) -> da.Array:
        if layout == "csc":
            source = partial(_columns, root_of, name)
            return scratch.by_rows(source, label=path.name, identity=identity).x(block_rows)
        with root_of() as root:
            return read_elem_lazy(root[name], chunks=(block_rows, shape[1]))

    return CellMatrix(
        label=path.name,
        n_obs=shape[0],
        n_vars=shape[1],
        dtype=np.dtype(values.dtype),
        layout=layout,
        nnz=nnz,
        chunk_rows=_chunk_rows(values, shape[0], nnz) if layout != "csc" else None,
        obs=_table(root["obs"], "cell", path),
        var=_table(root["raw/var" if layer == "raw" else "var"], "gene", path),
        obsm=coordinates(root["obsm"].items() if "obsm" in root else ()),
        identity=identity,
        rows=rows,
    )


def _element_name(path: Path, root: Any, layer: str | None) -> str:
    """Return where the matrix lies in the tree."""
    names = {}
    if "X" in root:
        names[None] = "X"
    if "raw" in root and "X" in root["raw"]:
        names["raw"] = "raw/X"
    if "layers" in root:
        names |= {key: f"layers/{key}" for key in sorted(root["layers"].keys())}
    if layer in names:
        return names[layer]
    there = ", ".join(key for key in names if key is not None) or "none"
    if layer is None:
        msg = f"{path.name} must have X; it has none. Choose a layer by --layer; there is {there}."
    else:
        msg = f"layer must be one that {path.name} has; got {layer!r}. There is {there}."
    raise InputError(msg)


def _layout(path: Path, name: str, element: Any) -> Layout:
    layout = _LAYOUTS.get(element.attrs.get("encoding-type", ""))
    if layout is None:
        msg = (
            f"{name} of {path.name} must be a sparse or dense matrix written by anndata 0.7 or "
            f"later; got {element.attrs.get('encoding-type', 'an older form')!r}. Read it with "
            "anndata and write it again."
        )
        raise StoreError(msg)
    return layout


def _chunk_rows(values: Any, n_obs: int, nnz: int | None) -> int | None:
    chunks = getattr(values, "shards", None) or values.chunks
    if chunks is None:
        return None
    if nnz is None:
        return int(chunks[0])
    return max(min(chunks[0] * n_obs // max(nnz, 1), n_obs), 1)


def _table(element: Any, kind: str, path: Path) -> pd.DataFrame:
    return with_unique_names(read_elem(element), kind=kind, label=path.name)


@contextmanager
def _columns(root_of: Any, name: str) -> Iterator[CompressedColumns]:
    with root_of() as root:
        group = root[name]
        n_obs, n_vars = (int(n) for n in group.attrs["shape"])
        yield CompressedColumns(
            group["data"], group["indices"], group["indptr"][...], (n_obs, n_vars)
        )
