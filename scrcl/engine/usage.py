"""Time, peak memory and bytes read of a block of code."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["UsageMeter", "give_back_freed", "resident_bytes"]

_POLL_S = 0.05


@dataclass(frozen=True)
class Usage:
    """Wall clock seconds, peak resident bytes (child processes included), bytes read by system calls."""

    seconds: float
    peak_rss_bytes: int
    bytes_read: int


class UsageMeter:
    """Context manager that measures its block; read `usage` after it.

    The kernel's high-water mark (``VmHWM``, reset at the start if the kernel allows it) catches short
    peaks of this process. A thread measures child processes too, every 50 ms. Pages of memory-mapped
    files count as resident while they are in memory; reads through such maps are not in
    ``bytes_read``.
    """

    def __enter__(self) -> Self:
        self._start_s = time.perf_counter()
        self._start_read = _bytes_read()
        self._exact = _reset_high_water_mark()
        self._polled = resident_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="scrcl-usage", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        seconds = time.perf_counter() - self._start_s
        peak = max(self._polled, resident_bytes(), _high_water_mark() if self._exact else 0)
        self.usage = Usage(seconds, peak, max(_bytes_read() - self._start_read, 0))

    def _poll(self) -> None:
        while not self._stop.wait(_POLL_S):
            self._polled = max(self._polled, resident_bytes())


def resident_bytes() -> int:
    """Resident bytes of this process and its children at this moment."""
    import psutil

    total = 0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def give_back_freed() -> None:
    """Return freed memory to the system.

    glibc keeps freed memory for later, about a quarter of a gigabyte here; it would count as resident.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _reset_high_water_mark() -> bool:
    """Reset ``VmHWM`` of this process (Linux); False if that is impossible."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water_mark() -> int:
    return _proc_field("/proc/self/status", "VmHWM:") * 1024


def _bytes_read() -> int:
    return _proc_field("/proc/self/io", "rchar:")


def _proc_field(path: str, field: str) -> int:
    if os.name != "posix" or not Path(path).exists():
        return 0
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0
