"""The ``.h5`` matrix of 10x Genomics. It is compressed by cell, so its rows can be streamed directly.

Version 3 has one group ``matrix`` with ``features``. Older files have one group for each genome, with
``genes``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from scrcl._warnings import logger_of
from scrcl.errors import InputError, StoreError
from scrcl.io.formats.element import CompressedRows, require_sparse
from scrcl.io.hdf5_filters import require_filters
from scrcl.io.identity import file_identity
from scrcl.io.matrix import CellMatrix
from scrcl.io.rows import rows_from_reader
from scrcl.io.stream import damage_named

if TYPE_CHECKING:
    from scrcl.io.transpose import Scratch

__all__ = ["open_matrix", "recognizes"]

_PARTS = {"barcodes", "data", "indices", "indptr", "shape"}
_log = logger_of(__name__)

_MARKS = 4
"""A group with so many of these parts is a 10x matrix."""


def recognizes(path: Path, file: h5py.File | None) -> bool:  # noqa: ARG001
    """Return whether an HDF5 file holds 10x matrices."""
    return file is not None and _genomes(file) != []


def open_matrix(path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:  # noqa: ARG001
    """Return the matrix of a 10x ``.h5`` file; see `scrcl.io.open.open_input`."""
    if layer is not None:
        message = (
            f"layer must be left out for {path.name}; got {layer!r}. A 10x file has one matrix."
        )
        raise InputError(message)
    with damage_named(f"{path} must be a complete 10x matrix"), h5py.File(path, "r") as file:
        return _describe(path, file)


def _genomes(file: h5py.File) -> list[str]:
    """Return the names of the groups that are 10x matrices, also of those that lack a part."""
    return [
        name
        for name, group in file.items()
        if isinstance(group, h5py.Group) and len(_PARTS & set(group.keys())) >= _MARKS
    ]


def _describe(path: Path, file: h5py.File) -> CellMatrix:
    genomes = _genomes(file)
    if len(genomes) > 1:
        message = (
            f"{path.name} must hold one genome; got {', '.join(genomes)}. Choose one, in Python: import scanpy; "
            f"scanpy.read_10x_h5({str(path)!r}, genome={genomes[0]!r}).write_h5ad('{genomes[0]}.h5ad')."
        )
        raise StoreError(message)
    group = file[genomes[0]]
    _require_parts(path, group)
    n_stored, n_obs = (int(n) for n in group["shape"][...])
    var = _genes(group)
    shape = (n_obs, n_stored)
    read = CompressedRows(path, genomes[0], shape)
    barcodes = pd.DataFrame(index=_strings(group["barcodes"]))
    data = group["data"]
    nnz = int(data.shape[0])

    data_type = np.dtype(data.dtype)
    per_row = max(nnz // max(n_obs, 1), 1)
    return CellMatrix(
        label=path.name,
        n_obs=n_obs,
        n_vars=n_stored,
        dtype=data_type,
        layout="csr",
        nnz=nnz,
        chunk_rows=None if data.chunks is None else max(min(data.chunks[0] // per_row, n_obs), 1),
        var=var,
        load_obs=lambda: barcodes,
        load_obsm=dict,
        identity=file_identity(path, shape=shape, layer=None),
        rows=lambda block_rows: rows_from_reader(read, shape=shape, block_rows=block_rows),
    )


def _require_parts(path: Path, group: h5py.Group) -> None:
    """Refuse a matrix that lacks a part, whose arrays have the wrong type, or that no filter here can read."""
    named = {"features"} if "features" in group else {"genes", "gene_names"}
    missing = sorted((_PARTS | named) - set(group.keys()))
    if missing:
        message = (
            f"{path} must be a complete 10x matrix; {group.name.strip('/')} has no {', '.join(missing)}. Write it "
            "again, or convert it to .h5ad with the software that reads it."
        )
        raise StoreError(message)
    name = group.name.strip("/")
    require_sparse(group, name=name, label=path.name, parts=("shape",))
    for part in ("data", "indices", "indptr", "shape"):
        require_filters(group[part], label=path.name)
    if len(group["shape"]) != 2:
        message = (
            f"{path} must have two numbers as its shape; got {len(group['shape'])}. Write it again."
        )
        raise StoreError(message)


def _genes(group: h5py.Group) -> pd.DataFrame:
    """Return ids and types of the features, indexed by name."""
    if "features" not in group:
        return pd.DataFrame({"gene_ids": _strings(group["genes"])}, _strings(group["gene_names"]))
    features = group["features"]
    columns = {"gene_ids": "id", "feature_types": "feature_type", "genome": "genome"}
    table = {name: _strings(features[key]) for name, key in columns.items() if key in features}
    names = _strings(features["name"])
    for name, values in table.items():
        if len(values) != len(names):
            message = (
                f"{features.name.strip('/')}/{columns[name]} of {Path(group.file.filename).name} must have a value for "
                f"each of {len(names):,} features; got {len(values):,}. Write the file again."
            )
            raise StoreError(message)
    return pd.DataFrame(table, index=names)


def _strings(dataset: Any) -> np.ndarray:
    """Return names as text, also those that are not UTF-8. Numbers are refused: they may be row numbers, no names."""
    found = getattr(dataset, "dtype", "a group")
    if isinstance(found, str) or h5py.check_string_dtype(found) is None:
        message = (
            f"{dataset.name.strip('/')} of {Path(dataset.file.filename).name} must be a list of texts; got {found}. "
            "Write the names again as text."
        )
        raise StoreError(message)
    names = np.asarray(dataset.asstr("utf-8", errors="replace")[...], dtype=object)
    replaced = [name for name in names if "\ufffd" in name]
    if replaced:
        _log.warning(
            "%s: %d names in %s are not UTF-8. What cannot be read is shown as in %r",
            Path(dataset.file.filename).name,
            len(replaced),
            dataset.name.strip("/"),
            replaced[0],
        )
    return names
