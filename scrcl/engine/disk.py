"""One-line errors for a disk that is too small: before a long write of known size, or when the disk is full."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrcl._atomic import atomic_path
from scrcl._sizes import format_bytes
from scrcl.errors import InputError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["naming_full_disk", "note_on_room", "require_new", "require_room", "writing"]

_FREE_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, a quota that is used up, and a limit on the size of a file (``ulimit -f``)."""
_CUT_SHORT = re.compile(
    r"\d+ requested and \d+ written|Not enough free space to write"
    rf"|errno = ({'|'.join(map(str, _FULL))})\b"
)
"""How NumPy (for a write, and for the room that it reserves first) and HDF5 report these."""


def require_room(path: Path, n_bytes: float, what: str) -> None:
    """Check that the disk of ``path`` has ``n_bytes`` for ``what``.

    Raises
    ------
    StoreError
        It has less.
    """
    free = _free_bytes(path)
    if n_bytes > free:
        message = (
            f"the disk of {path} must have room for {what}, about {format_bytes(n_bytes)}; "
            f"{format_bytes(free)} are free. Free some space and repeat the same command to resume."
        )
        raise StoreError(message)


def note_on_room(path: Path, n_bytes: float) -> str | None:
    """Return a warning where the disk of ``path`` has less than the ``n_bytes`` that are expected; else None.

    Nothing is refused, because the size of what a run leaves is known only roughly.
    """
    free = _free_bytes(path)
    if n_bytes <= free:
        return None
    return (
        f"The disk of {path} may become full: about {format_bytes(n_bytes)} are expected there, and "
        f"{format_bytes(free)} are free. Free some space; a run that stops for it resumes."
    )


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the error of a full disk of ``path``, or of a quota that is used up, into a StoreError.

    NumPy and HDF5 raise errors without ``errno``, so the free space decides then.

    Raises
    ------
    StoreError
        The disk became full inside the block, or a quota or a limit was reached.
    """
    try:
        yield
    except ScrclError:
        raise
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        is_full = number is None and (
            _CUT_SHORT.search(str(error)) is not None or _free_bytes(path) < _FREE_BYTES
        )
        if number in _FULL or is_full:
            message = (
                f"the disk of {path} must have room; it is full, or your quota or limit there is reached. Free some "
                "space and repeat the same command to resume; finished work is kept."
            )
            raise StoreError(message) from error
        raise


def require_new(path: Path, what: str) -> None:
    """Check that a file can be written, before the work that fills it.

    Parameters
    ----------
    what
        What it is, for messages: an option, or a name.

    Raises
    ------
    InputError
        It exists, or its folder does not or cannot be written.
    """
    if path.exists():
        message = f"{what} must be new; got {path}, which exists. Name another one."
        raise InputError(message)
    if not path.parent.is_dir():
        message = f"{what} must lie in a folder that exists; got {path}. Make {path.parent} first."
        raise InputError(message)
    if not os.access(path.parent, os.W_OK):
        message = f"{what} must lie in a folder that can be written; got {path}. Name another one."
        raise InputError(message)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file, as `scrcl._atomic.atomic_path` does.

    Raises
    ------
    StoreError
        The disk is full, a quota is used up, or the file cannot be written.
    """
    try:
        with naming_full_disk(path), atomic_path(path) as partial:
            yield partial
    except OSError as error:
        if isinstance(error, ScrclError):
            raise
        message = f"{path} must be a file that can be written; got {error.strerror or error}. Name another one."
        raise StoreError(message) from error


def _free_bytes(path: Path) -> int:
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free
