"""Open an input of any format: a path, several paths as samples, or an AnnData object.

`scrcl.io.formats` has the table of formats.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

import h5py

from scrcl.errors import InputError, StoreError
from scrcl.io.annotations import unique_genes, with_unique_names
from scrcl.io.feature_types import genes_only
from scrcl.io.foreign import advice_on
from scrcl.io.formats import FORMATS, FORMATS_HELP
from scrcl.io.formats.in_memory import from_anndata
from scrcl.io.join import join_samples, require_join
from scrcl.io.stream import DAMAGE
from scrcl.io.transpose import Scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.io.formats import Reader
    from scrcl.io.matrix import CellMatrix

__all__ = ["from_anndata", "open_input"]


def open_input(
    paths: Sequence[Path],
    *,
    layer: str | None = None,
    join: str = "inner",
    scratch: Path | None = None,
    block_bytes: int = 64 << 20,
) -> CellMatrix:
    """Return the matrix at ``paths``, opened lazily. Inputs are never written to.

    Parameters
    ----------
    paths
        An AnnData ``.h5ad`` or ``.zarr`` (v2 or v3), a 10x ``.h5``, or a folder with ``matrix.mtx``. Several
        paths are samples: they are joined on their genes, and ``obs["sample"]`` names the sample of each cell.
    layer
        None reads ``X``, ``"raw"`` reads ``raw.X`` with its own genes, other names read that layer.
    join
        ``"inner"`` keeps the genes that all samples have, ``"outer"`` the genes that any sample has.
    scratch
        Folder for row-major copies of column-major inputs (CSC, mtx). A copy is made at the first read.
        Without the folder only the header of such an input is available.
    block_bytes
        Rough bound on the memory for making such a copy.

    Raises
    ------
    InputError
        The layer does not exist, the matrix is empty, or samples share no genes or repeat gene names.
    StoreError
        A path is missing, damaged, or of no known format.
    """
    if not paths:
        message = "paths must name at least one input; got none."
        raise InputError(message)
    require_join(join)
    copies = Scratch(scratch, block_bytes)
    opened = [_open_one(Path(path), layer, copies) for path in paths]

    def other(name: str | None) -> CellMatrix:
        return open_input(paths, layer=name, join=join, scratch=scratch, block_bytes=block_bytes)

    if len(opened) > 1:
        joined = join_samples(opened, [Path(path) for path in paths], how=join)
        return replace(joined, open_layer=other)
    (only,) = opened
    return replace(
        unique_genes(only),
        load_obs=lambda: with_unique_names(only.fresh_obs(), kind="cell", label=only.label),
        open_layer=other,
    )


def _open_one(path: Path, layer: str | None, scratch: Scratch) -> CellMatrix:
    if address := re.match(r"(\w{2,}):/+(.*)", str(path)):
        remedy = f"Give /{address[2]}" if address[1] == "file" else "Download it first"
        message = (
            f"The input must be a local file or folder; got the address {address[1]}://{address[2]}. "
            f"{remedy}."
        )
        raise StoreError(message)
    try:
        exists = path.exists()
    except OSError as error:
        message = f"The input must be readable; got {path} ({error.strerror}). Check the path."
        raise StoreError(message) from error
    if not exists:
        is_link = f", a link to {path.readlink()}, which does not" if path.is_symlink() else ""
        message = f"The input must exist; got {path}{is_link}. Check the path."
        raise StoreError(message)
    return genes_only(_reader_of(path).open_matrix(path, layer=layer, scratch=scratch))


def _reader_of(path: Path) -> Reader:
    """Return the reader of the first format that recognizes ``path``."""
    file, names = None, list[str]()
    fault: Exception | None = None
    try:
        if not path.is_dir():
            file = h5py.File(path, "r")
    except OSError as error:  # no HDF5 file, or damaged
        fault = error
    try:
        # The file is closed again before the reader opens it in its own way.
        with nullcontext() if file is None else file:
            for each in FORMATS:
                reader = cast("Reader", import_module(f"scrcl.io.formats.{each.module}"))
                if reader.recognizes(path, file):
                    return reader
            names = [p.name for p in path.iterdir()] if path.is_dir() else list(file or ())
    except DAMAGE as error:
        fault = error
    advice = advice_on(path, None if path.is_dir() or file is None else names, fault)
    if advice is not None:
        message = f"The input must be {FORMATS_HELP}; got {path}, {advice}"
        raise StoreError(message)
    content = ", ".join(sorted(names)[:5]) or "nothing"
    if fault is None:
        found = f"it holds {content}"
    elif "file signature not found" in str(fault):
        found = "it is no HDF5 file"
    else:
        found = f"it cannot be opened: {fault}"
    message = f"The input must be {FORMATS_HELP}; got {path}: {found}. Convert it with the software that wrote it."
    raise StoreError(message) from fault
