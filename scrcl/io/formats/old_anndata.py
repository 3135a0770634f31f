"""AnnData files from before version 0.7, whose tables are HDF5 compound records.

anndata reads them into memory. They date from when data sets were small, and have no elements that could be
read by ranges of rows.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import anndata
import h5py

from scrcl._warnings import logger_of
from scrcl.io.formats.in_memory import from_anndata
from scrcl.io.identity import file_identity
from scrcl.io.stream import damage_named

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.io.matrix import CellMatrix
    from scrcl.io.transpose import Scratch

__all__ = ["open_matrix", "recognizes"]

_log = logger_of(__name__)


def recognizes(path: Path, file: h5py.File | None) -> bool:  # noqa: ARG001
    """Return whether ``obs`` is a table of HDF5 records."""
    return file is not None and isinstance(file.get("obs"), h5py.Dataset)


def open_matrix(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:  # noqa: ARG001
    """Return the matrix of an old ``.h5ad``, in memory.

    Raises
    ------
    InputError
        The layer does not exist.
    StoreError
        anndata cannot read the file.
    """
    _log.warning(
        "%s has a format from before anndata 0.7: it is read into memory, not streamed", path.name
    )
    with damage_named(f"{path} must be readable by anndata"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one warning for each old element
        adata = anndata.read_h5ad(path)
    matrix = from_anndata(adata, layer=layer)
    identity = file_identity(path, shape=(matrix.n_obs, matrix.n_vars), layer=layer)
    return replace(matrix, label=path.name, identity=identity)
