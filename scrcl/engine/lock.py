"""One process at a time in an output folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from scrcl.errors import ResumeError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["hold"]


def hold(file: Path, out: Path) -> FileLock:
    """Return the held lock of ``out``; release it at the end.

    The kernel keeps the lock and drops it when the process ends, however it ends. On file systems
    without such locks the call fails: a file that only marks the folder as taken would outlive a killed process.

    Parameters
    ----------
    file
        Lock file. It stays in place when the lock is released.

    Raises
    ------
    ResumeError
        Another process holds the lock.
    OSError
        The file cannot be created, or the file system has no locks.
    """
    lock = FileLock(file, mode=0o644, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        message = (
            f"OUT must belong to one process at a time; another process is using {out}. "
            "Wait for its end, or name another OUT."
        )
        raise ResumeError(message) from None
    return lock
