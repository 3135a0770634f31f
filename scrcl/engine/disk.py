"""A disk that is too small, said in one line: before a long write where its size is known, or after."""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrcl.errors import ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["naming_full_disk", "require_room"]

_FREE_BYTES = 1 << 20


def require_room(path: Path, n_bytes: float, what: str) -> None:
    """Raise StoreError where the disk of ``path`` has less than ``n_bytes`` for ``what``."""
    free = _free_bytes(path)
    if n_bytes > free:
        message = (
            f"the disk of {path} must have room for {what}, about {n_bytes / 1e9:,.3g} GB; "
            f"{free / 1e9:,.3g} GB are free. Make room and run the same command again: it goes on "
            "from here."
        )
        raise StoreError(message)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Raise StoreError where the disk of ``path`` became full; NumPy and HDF5 give no number for it."""
    try:
        yield
    except ScrclError:
        raise
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ENOSPC or (number is None and _free_bytes(path) < _FREE_BYTES):
            message = (
                f"the disk of {path} must have room; it is full. Make room and run the same command "
                "again: what is finished is kept."
            )
            raise StoreError(message) from error
        raise


def _free_bytes(path: Path) -> int:
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free
