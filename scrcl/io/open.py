"""Open any input: one function for paths, one for an AnnData object.

Each format is one reader that returns a `CellMatrix`; what a path is shows in the path itself, and
in what is inside an HDF5 file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from scrcl.errors import InputError, StoreError
from scrcl.io.annotations import with_unique_names
from scrcl.io.formats.anndata_store import open_anndata
from scrcl.io.formats.in_memory import from_anndata
from scrcl.io.formats.mtx import matrix_file, open_mtx
from scrcl.io.formats.old_anndata import is_old, open_old
from scrcl.io.formats.tenx import is_tenx, open_tenx
from scrcl.io.join import join_samples, require_join
from scrcl.io.transpose import Scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.io.matrix import CellMatrix

__all__ = ["from_anndata", "open_input"]

_FORMATS = "an AnnData .h5ad or .zarr, a 10x .h5, or a folder with matrix.mtx"


def open_input(
    paths: Sequence[Path],
    *,
    layer: str | None = None,
    join: str = "inner",
    scratch: Path | None = None,
    block_bytes: int = 64 << 20,
) -> CellMatrix:
    """Return the matrix at ``paths``, opened lazily; no input is ever written to.

    Parameters
    ----------
    paths
        ``.h5ad``, AnnData ``.zarr`` (v2 or v3), 10x ``.h5`` or a folder with ``matrix.mtx``.
        Several are samples: they are joined on their genes, and ``obs["sample"]``
        tells them apart.
    join
        Genes of several inputs: those that all have, or those that any has.
    layer
        None reads ``X``, ``"raw"`` reads ``raw.X`` with its own genes, else a layer's name.
    scratch
        Folder for copies by rows of inputs that lie by genes (CSC, mtx), made at the first read;
        without it, such an input shows its header only.
    block_bytes
        Bound on the memory that such a copy takes, roughly.

    Raises
    ------
    InputError
        The layer is not there, the matrix is empty, samples share no genes, or repeat gene names.
    StoreError
        A path is missing, damaged, or no input of a known kind.
    """
    if not paths:
        raise InputError("paths must name at least one input; got none.")
    require_join(join)
    copies = Scratch(scratch, block_bytes)
    opened = [_open_one(Path(path), layer, copies) for path in paths]
    if len(opened) > 1:
        return join_samples(opened, [Path(path) for path in paths], how=join)
    (only,) = opened
    return replace(
        only,
        var=with_unique_names(only.var, kind="gene", label=only.label),
        load_obs=lambda: with_unique_names(only.fresh_obs(), kind="cell", label=only.label),
    )


def _open_one(path: Path, layer: str | None, scratch: Scratch) -> CellMatrix:
    try:
        exists = path.exists()
    except OSError as error:
        raise StoreError(f"The input must be readable; got {path} ({error.strerror}).") from error
    if not exists:
        raise StoreError(f"The input must exist; got {path}. Check the path.")
    if path.is_dir():
        if matrix_file(path) is not None:
            return open_mtx(path, layer=layer, scratch=scratch)
        if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
            return open_anndata(path, layer=layer, scratch=scratch)
        inside = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
        msg = (
            f"A folder must hold matrix.mtx (or .gz), or be an AnnData .zarr; got {path} with "
            f"{inside}. Give {_FORMATS}."
        )
        raise StoreError(msg)
    try:
        with h5py.File(path, "r") as file:
            tenx, old = is_tenx(file), is_old(file)
    except OSError as error:
        msg = f"The input must be {_FORMATS}; {path} cannot be opened: {error}."
        raise StoreError(msg) from error
    if old:
        return open_old(path, layer=layer)
    opener = open_tenx if tenx else open_anndata
    return opener(path, layer=layer, scratch=scratch)
