"""One-line errors for a disk that is too small: before a long write of known size, or when the disk is full."""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrcl._sizes import format_bytes
from scrcl.errors import ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["naming_full_disk", "require_room"]

_FREE_BYTES = 1 << 20


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


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the error of a full disk of ``path`` into a StoreError.

    NumPy and HDF5 raise errors without ``errno``, so the free space decides then.

    Raises
    ------
    StoreError
        The disk became full inside the block.
    """
    try:
        yield
    except ScrclError:
        raise
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ENOSPC or (number is None and _free_bytes(path) < _FREE_BYTES):
            message = (
                f"the disk of {path} must have room; it is full. Free some space and repeat the same command "
                "to resume; finished work is kept."
            )
            raise StoreError(message) from error
        raise


def _free_bytes(path: Path) -> int:
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free
