"""HDF5 filters: what an array is compressed with, and whether this machine can read it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import h5py

from scrcl.errors import StoreError

__all__ = ["require_filters"]

_NAMES = {
    32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2",
}  # fmt: skip
"""Filters of the package hdf5plugin that single-cell files use; numbers as registered with the HDF Group."""

_PLUGIN = "hdf5plugin"


def require_filters(array: Any, *, label: str) -> None:
    """Refuse an array that needs an HDF5 filter which is not installed. Its file is whole, so no copy would help.

    Parameters
    ----------
    array
        On disk. Anything but an HDF5 array passes.
    label
        Name of the file, for the message.

    Raises
    ------
    StoreError
        The filter is missing. The message names it.
    """
    if not isinstance(array, h5py.Dataset):
        return
    lacking = _lacking(array)
    if lacking is not None and find_spec(_PLUGIN) is not None:
        import_module(_PLUGIN)  # registers its filters
        lacking = _lacking(array)
    if lacking is not None:
        message = (
            f"{array.name.strip('/')} of {label} must be readable; it is compressed by the HDF5 filter {lacking}, "
            f"which is not installed here. Install its plugin (pip install {_PLUGIN}), or rewrite the file with gzip "
            "where it can be read (h5repack -f GZIP=4)."
        )
        raise StoreError(message)


def _lacking(array: h5py.Dataset) -> str | None:
    """Return number and name of the first filter that is not there."""
    steps = array.id.get_create_plist()
    for step in range(steps.get_nfilters()):
        number, _, _, name = steps.get_filter(step)
        if not h5py.h5z.filter_avail(number):
            text = _NAMES.get(number) or name.decode(errors="replace").strip("\0 ")
            return f"{number} ({text})" if text else str(number)
    return None
