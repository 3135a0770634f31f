"""Write results as AnnData, without holding the large arrays in memory.

anndata writes dask arrays block by block. So memory maps are turned into dask arrays before they are written.
"""

from __future__ import annotations

import mmap
import warnings
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from anndata import settings as anndata_settings
from anndata.utils import make_index_unique

from scrcl._atomic import atomic_path
from scrcl._warnings import logger_of
from scrcl.errors import InputError
from scrcl.io.formats.anndata_store import read_obs, read_var, stored_coordinates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scrcl.typing import Csr

__all__ = [
    "pairs_in_blocks",
    "read_obs",
    "read_var",
    "storable",
    "stored_coordinates",
    "write_result",
    "write_zarr",
]

_log = logger_of(__name__)

_BLOCK_BYTES = 32 << 20
_BLOCK_ENTRIES = 1 << 21
_NUMBERS = {"bool", "boolean", "float16", "float32", "float64"} | {
    f"{kind}{bits}" for kind in ("int", "uint", "Int", "UInt") for bits in (8, 16, 32, 64)
}


def write_result(
    path: Path,
    *,
    fmt: str,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    obsm: dict[str, np.ndarray],
    obsp: dict[str, Csr | da.Array],
    uns: dict[str, Any],
    varm: dict[str, np.ndarray] | None = None,
    x: da.Array | None = None,
    more: Callable[[Any], None] | None = None,
) -> None:
    """Write an AnnData store, for ``anndata.read_h5ad`` or ``read_zarr``.

    Columns of tables that AnnData cannot store (dates, mixed types) become strings.

    Parameters
    ----------
    path
        File or folder to write. It appears only when it is complete, and replaces an earlier one.
    fmt
        ``"h5ad"`` or ``"zarr"``.
    obsm
        Arrays with n_obs rows. Memory maps of whole ``.npy`` files are written in blocks.
    obsp
        CSR matrices, or row blocks of them (`pairs_in_blocks`).
    varm
        Arrays with n_vars rows.
    x
        Row blocks for ``X``. With None the store has no ``X``.
    more
        Adds further elements, given the root group of the store.

    Raises
    ------
    InputError
        The format is unknown.
    """
    if fmt not in ("h5ad", "zarr"):
        message = f"fmt must be 'h5ad' or 'zarr'; got {fmt!r}."
        raise InputError(message)
    adata = AnnData(
        X=x,
        obs=storable(obs),
        var=storable(var),
        obsm={key: _in_blocks(array) for key, array in obsm.items()},
        obsp=obsp,
        varm=varm or {},
        uns=uns,
    )
    # One thread: h5py has a global lock anyway, and so blocks cannot pile up.
    with atomic_path(path) as partial, dask.config.set(scheduler="synchronous"):
        if fmt == "h5ad":
            adata.write_h5ad(partial)
        else:
            write_zarr(adata, partial)
        if more is not None:
            _add(partial, fmt, more)


def _add(path: Path, fmt: str, more: Callable[[Any], None]) -> None:
    if fmt == "h5ad":
        with h5py.File(path, "r+") as file:
            more(file)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        more(zarr.open_group(path, mode="r+", use_consolidated=False))
        zarr.consolidate_metadata(zarr.storage.LocalStore(path))


def pairs_in_blocks(rows: Callable[[int, int], Csr], n_obs: int, n_entries: int) -> Csr | da.Array:
    """Return a matrix of cells by cells that can be written block by block.

    Parameters
    ----------
    rows
        Returns rows ``start`` to ``stop`` as CSR, shape (stop - start, n_obs).
    n_entries
        Number of stored values. Up to 2 million (one block) the matrix itself is returned.
    """
    if n_entries <= _BLOCK_ENTRIES:
        return rows(0, n_obs)
    block_rows = max(n_obs * _BLOCK_ENTRIES // n_entries, 1)

    def block(block_info: Any = None) -> Csr:
        return rows(*block_info[None]["array-location"][0])

    first = rows(0, 0)
    chunks = da.core.normalize_chunks((block_rows, -1), shape=(n_obs, n_obs), dtype=first.dtype)
    # A given name keeps dask from hashing everything that `rows` refers to.
    name = f"pairs-{uuid4().hex}"
    return da.map_blocks(block, name=name, chunks=chunks, dtype=first.dtype, meta=first)


def write_zarr(adata: AnnData, path: Path) -> None:
    """Write Zarr version 2, which every reader supports."""
    # Chunks of zeros are written too: a reader could not tell them from lost ones.
    whole = zarr.config.set({"array.write_empty_chunks": True})
    with warnings.catch_warnings(), anndata_settings.override(zarr_write_format=2), whole:
        warnings.filterwarnings("ignore", "Writing zarr v2", UserWarning)
        adata.write_zarr(path)


def _in_blocks(array: np.ndarray) -> np.ndarray | da.Array:
    """Return a memory map of a whole file as a dask array of row blocks, and other arrays unchanged.

    So is one that is no larger than a block: to write it, dask would load distributed.
    """
    base: Any = array.base  # only a whole map can be opened again from its file
    if not (isinstance(array, np.memmap) and isinstance(base, mmap.mmap)):
        return np.asarray(array)
    if array.nbytes <= _BLOCK_BYTES:
        return np.asarray(array)
    file = {
        "filename": array.filename,
        "dtype": array.dtype,
        "shape": array.shape,
        "offset": array.offset,
        "order": "C" if array.flags.c_contiguous else "F",
    }
    row_bytes = max(array.nbytes // max(len(array), 1), 1)
    return da.map_blocks(
        _read_rows,
        file,
        chunks=da.core.normalize_chunks(
            (max(_BLOCK_BYTES // row_bytes, 1), -1), shape=array.shape, dtype=array.dtype
        ),
        dtype=array.dtype,
        meta=np.empty((0, 0), dtype=array.dtype),
    )


def _read_rows(file: dict[str, Any], block_info: Any = None) -> np.ndarray:
    """Return a copy of some rows. The map is closed again, which releases its pages."""
    start, stop = block_info[None]["array-location"][0]
    return np.array(np.memmap(mode="r", **file)[start:stop])


def storable(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``table`` with names and columns that AnnData can store. Other columns become strings."""
    names = [str(name).replace("/", "_") for name in table.columns]
    for given, name in zip(table.columns, names, strict=True):
        if str(given) != name:
            _log.warning("the column %r is kept as %r: a name must have no slash", given, name)
    names = make_index_unique(pd.Index([f"{n}_" if n == "_index" else n for n in names])).tolist()
    columns = {
        name: _storable_column(table.iloc[:, position]) for position, name in enumerate(names)
    }
    index_name = str(table.index.name or "").replace("/", "_")
    # AnnData writes the index under its name, among the columns, so the name must not repeat.
    index = table.index.astype(str).astype(object)
    index = index.rename(None if index_name in {*names, "", "_index"} else index_name)
    return pd.DataFrame({name: c.array for name, c in columns.items()}, index=index)


def _storable_column(column: pd.Series) -> pd.Series:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        if categories.dtype.kind in "biuf" or categories.inferred_type in ("string", "empty"):
            return column
        return column.cat.rename_categories(make_index_unique(categories.astype(str)))
    if dtype.name in _NUMBERS:
        return column
    if pd.api.types.is_float_dtype(dtype):
        return column.astype(np.float64)
    return _texts(column.astype(object))


def _texts(column: pd.Series) -> pd.Series:
    """Return a column of any objects as strings. Missing values stay missing."""
    missing = column.isna()
    if missing.all():
        return pd.Series(np.nan, column.index)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "boolean":
        return column.astype("boolean")
    if kind != "string":
        column = column.where(missing, column.map(str))
    # In an AnnData store only a categorical column can hold strings and missing values.
    return column.astype("category") if missing.any() else column
