"""AnnData files from before version 0.7, whose tables are HDF5 records: read whole by anndata.

They date from when data sets were small, and have no elements that could be read by ranges.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import anndata
import h5py

from scrcl.errors import StoreError
from scrcl.io.formats.in_memory import from_anndata
from scrcl.io.identity import file_identity
from scrcl.io.stream import DAMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.io.matrix import CellMatrix

__all__ = ["is_old", "open_old"]

_log = logging.getLogger(__name__)


def is_old(file: h5py.File) -> bool:
    """Whether ``obs`` is a table of HDF5 records."""
    return isinstance(file.get("obs"), h5py.Dataset)


def open_old(path: Path, *, layer: str | None) -> CellMatrix:
    """Return the matrix of an old ``.h5ad``, in memory.

    Raises
    ------
    InputError
        There is no such layer.
    StoreError
        anndata cannot read the file.
    """
    _log.warning("%s is of the form before anndata 0.7: it is read whole, not streamed", path.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each old element warns on its own
            adata = anndata.read_h5ad(path)
    except DAMAGE as error:
        msg = f"{path} must be readable by anndata; got {type(error).__name__}: {error}."
        raise StoreError(msg) from error
    matrix = from_anndata(adata, layer=layer)
    identity = file_identity(path, shape=(matrix.n_obs, matrix.n_vars), layer=layer)
    return replace(matrix, label=path.name, identity=identity)
