"""An AnnData object as input: in memory, backed by its file, or with a dask array."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import h5py
import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.io.annotations import unique_genes, with_unique_names
from scrcl.io.coordinates import Coordinates, coordinate_keys, read_coordinates
from scrcl.io.feature_types import genes_only
from scrcl.io.identity import file_identity, memory_identity
from scrcl.io.matrix import CellMatrix, Layout
from scrcl.io.rows import require_format, rows_from_reader
from scrcl.io.transpose import CompressedColumns, Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from anndata import AnnData

    from scrcl.io.coordinates import CellCoordinates
    from scrcl.typing import Csr

__all__ = ["from_anndata"]

_LABEL = "AnnData object"


def from_anndata(
    adata: AnnData, *, layer: str | None = None, scratch: Scratch | None = None
) -> CellMatrix:
    """Return the genes of ``adata``, which is never changed.

    Parameters
    ----------
    adata
        In memory, backed by an ``.h5ad``, or with a dask array, whose blocks are computed as they are read. A CSC
        matrix in memory is converted to CSR in memory.
    scratch
        Where a backed CSC matrix is copied to row-major, at the first read.
    layer
        None reads ``X``, ``"raw"`` reads ``raw.X`` with its own genes, other names read that layer.

    Raises
    ------
    InputError
        The layer does not exist, there are no genes, or the matrix is of a type that cannot be read by rows.
    """
    x, var = _element(adata, layer)
    label, layout = _LABEL, _layout(x)
    if sparse.issparse(x):
        if layout == "csc":  # rows are checked as they are read
            require_format(x)
        x = x.tocsr()
    shape = (int(x.shape[0]), int(x.shape[1]))
    backed = isinstance(x, (CSRDataset, CSCDataset, h5py.Dataset))

    def obs() -> pd.DataFrame:
        return with_unique_names(adata.obs, kind="cell", label=label)

    in_file = _identity_of_file(Path(adata.filename), shape, layer) if backed else None
    blocks = _blocks(x) if isinstance(x, da.Array) else [x]
    identity = in_file or memory_identity(blocks, shape, adata.obs_names, var.index)

    def rows(block_rows: int) -> da.Array:
        if isinstance(x, CSCDataset):
            copies = scratch or Scratch(None, 0)
            source = partial(_columns, x.group, shape)
            return copies.row_major(source, label=label, identity=identity).x(block_rows)
        return rows_from_reader(partial(_rows, x), shape=shape, block_rows=block_rows)

    matrix = CellMatrix(
        label=label,
        n_obs=shape[0],
        n_vars=shape[1],
        dtype=np.dtype(x.dtype),
        layout=layout,
        nnz=int(x.nnz) if sparse.issparse(x) else None,
        chunk_rows=None,
        var=var,
        load_obs=obs,
        load_obsm=lambda: _coordinates(adata),
        check_obs=lambda: _check(obs),
        layers=_layers(adata),
        sources=(lambda: nullcontext(adata),),
        identity=identity,
        rows=rows,
        open_layer=lambda name: from_anndata(adata, layer=name, scratch=scratch),
    )
    return unique_genes(genes_only(matrix))


def _identity_of_file(path: Path, shape: tuple[int, int], layer: str | None) -> dict[str, Any]:
    try:
        return file_identity(path, shape=shape, layer=layer)
    except OSError as error:
        message = f"The file of a backed AnnData must be readable; got {path} ({error.strerror}). Open it again."
        raise StoreError(message) from error


def _rows(x: Any, start: int, stop: int) -> Any:
    """Return some rows; those of a dask array are computed in this thread, as the reader has threads of its own."""
    rows = x[start:stop]
    if not isinstance(rows, da.Array):
        return rows
    try:
        return rows.compute(scheduler="synchronous")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        message = (
            f"The dask array must be computable; rows {start:,} to {stop - 1:,} are not: {reason}. "
            "Check what it is made of."
        )
        raise StoreError(message) from error


def _blocks(x: da.Array) -> Iterator[Csr | np.ndarray]:
    ends = np.cumsum([0, *x.chunks[0]]).tolist()
    for start, stop in pairwise(ends):
        block = _rows(x, start, stop)
        yield sparse.csr_matrix(block) if sparse.issparse(block) else np.asarray(block)


def _coordinates(adata: AnnData) -> Coordinates:
    def read(key: str) -> CellCoordinates:
        return read_coordinates(
            adata.obsm, key, n_obs=adata.n_obs, cells=lambda: adata.obs_names, label=_LABEL
        )

    return Coordinates(coordinate_keys(adata.obsm), read)


@contextmanager
def _columns(group: Any, shape: tuple[int, int]) -> Iterator[CompressedColumns]:
    indptr = np.asarray(group["indptr"][...]).astype(np.int64)
    yield CompressedColumns(group["data"], group["indices"], indptr, shape)


def _check(obs: Callable[[], pd.DataFrame]) -> None:
    """Warn of columns that cannot be kept, and refuse names that cannot, before the work begins."""
    obs()


def _element(adata: AnnData, layer: str | None) -> tuple[Any, pd.DataFrame]:
    """Return the matrix and the table of its genes."""
    if adata.isbacked and adata.is_view:
        message = "adata must not be a view of a backed file. Use adata.to_memory() first."
        raise InputError(message)
    if layer == "raw" and adata.raw is not None:
        return adata.raw.X, adata.raw.var
    if layer in adata.layers:
        return adata.layers[layer], adata.var
    layers = ", ".join(_layers(adata)) or "none"
    if layer is not None:
        message = f"layer must exist in adata; got {layer!r}. Layers: {layers}."
        raise InputError(message)
    if adata.X is None:
        message = f"adata must have X; it has none. Choose a layer. Layers: {layers}."
        raise InputError(message)
    return adata.X, adata.var


def _layers(adata: AnnData) -> tuple[str, ...]:
    return (*(["raw"] if adata.raw is not None else []), *map(str, adata.layers))


def _layout(x: Any) -> Layout:
    if isinstance(x, np.ma.MaskedArray):
        message = "The matrix must not be masked; got a masked array. Give X.filled(0) if masked values mean zero."
        raise InputError(message)
    if isinstance(x, da.Array) and not any(map(np.isnan, x.shape)):
        # Its blocks come by rows whatever they are.
        return "dense" if isinstance(getattr(x, "_meta", None), np.ndarray) else "csr"
    if isinstance(x, (np.ndarray, h5py.Dataset)):
        return "dense"
    if isinstance(x, CSRDataset) or (sparse.issparse(x) and x.format == "csr"):
        return "csr"
    if isinstance(x, CSCDataset) or (sparse.issparse(x) and x.format == "csc"):
        return "csc"
    message = (
        f"The matrix must be CSR, CSC, dense, or a dask array of these; got {type(x).__name__}. "
        "Convert it to scipy CSR."
    )
    raise InputError(message)
