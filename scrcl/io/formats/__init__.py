"""The table of input formats.

A format is a module in this package with two functions, described by `Reader`. To add a format, write its
module and add a line to `FORMATS`. The table holds names instead of modules, so that help texts can use it
without loading the libraries of the readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

    from scrcl.io.matrix import CellMatrix
    from scrcl.io.transpose import Scratch

__all__ = ["FORMATS", "FORMATS_HELP", "Reader"]


class Reader(Protocol):
    """What the module of a format must define."""

    def recognizes(self, path: Path, file: h5py.File | None) -> bool:
        """Return whether ``path`` has this format. ``file`` is open if the path is an HDF5 file, else None."""

    def open_matrix(self, path: Path, *, layer: str | None, scratch: Scratch) -> CellMatrix:
        """Return the matrix at ``path``; see `scrcl.io.open.open_input`."""


class _Format(NamedTuple):
    """A line of the table: the module in this package, and the text for help and messages.

    The text is empty where that of another format covers it.
    """

    module: str
    text: str


FORMATS = (
    _Format("anndata_store", "an AnnData .h5ad or .zarr"),
    _Format("old_anndata", ""),
    _Format("tissue_folder", "the folder of Space Ranger or Xenium"),
    _Format("tenx", "a 10x .h5"),
    _Format("mtx", "a folder with matrix.mtx"),
)

_texts = [each.text for each in FORMATS if each.text]
FORMATS_HELP = f"{', '.join(_texts[:-1])}, or {_texts[-1]}"
"""All formats in words: "an AnnData .h5ad or .zarr, a 10x .h5, or a folder with matrix.mtx"."""
