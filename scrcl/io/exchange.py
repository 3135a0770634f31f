"""Change a folder as a whole: a copy is changed, and takes the place of the folder in one step.

The copy shares the data of the files with the folder (hard links), so it costs no room and no data is read. A process
that is killed leaves the folder as it was, or as it should become.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrcl._atomic import flush, remove
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["exchanged", "put_back"]

_HERE, _EXCHANGE = -100, 2
"""Of ``renameat2``: paths are relative to the working folder; both names change places."""


@contextmanager
def exchanged(folder: Path, *, written_in_place: Collection[str]) -> Iterator[Path]:
    """Yield a copy of a folder. It takes the folder's place if the block ends without an error.

    Parameters
    ----------
    written_in_place
        Names of files that the block may write into. They are copied; other files may only be deleted or added.

    Raises
    ------
    StoreError
        The file system has no hard links, or the place cannot be written.
    """
    copy = folder.with_name(f".{folder.name}.partial")
    try:
        remove(copy)
        _copy(folder, copy, written_in_place)
    except OSError as error:
        remove(copy)
        message = (
            f"{folder.parent} must be a folder that can be written, on a file system with hard links; "
            f"got {error.strerror}. Write a new store by `scrcl.export`."
        )
        raise StoreError(message) from None
    try:
        yield copy
        for path in copy.rglob("*"):
            if path.is_file() and path.stat().st_nlink == 1:
                flush(path)
        _exchange(copy, folder)
        flush(folder.parent)
    finally:
        remove(copy)


def put_back(folder: Path) -> None:
    """Put a folder back that a killed process moved away, where the system cannot exchange folders in one step."""
    before = _before(folder)
    if before.exists() and not folder.exists():
        before.rename(folder)


def _copy(folder: Path, copy: Path, written_in_place: Collection[str]) -> None:
    """Make the same tree, with links to the same files."""
    copy.mkdir()
    for entry in folder.iterdir():
        there = copy / entry.name
        if entry.is_symlink():
            there.symlink_to(entry.readlink())
        elif entry.is_dir():
            _copy(entry, there, written_in_place)
        elif entry.name in written_in_place:
            shutil.copy2(entry, there)
        else:
            os.link(entry, there)
    shutil.copystat(folder, copy)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change their names: in one step where the system can, which Linux does on most file systems."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    before = _before(other)
    other.rename(before)
    try:
        one.rename(other)
    except BaseException:
        before.rename(other)
        raise
    before.rename(one)


def _before(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")
