"""How far a stage is: what it counts, how fast, and the time left."""

from __future__ import annotations

import threading
import time

__all__ = ["EVERY_S", "Pace", "format_seconds"]

EVERY_S = 30.0
"""Seconds between two lines about a stage that runs."""


class Pace:
    """Counts the work of the stage that runs, and says every 30 seconds how far it is. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name, self._unit, self._total, self._done, self._before = "", "", 0, 0, 0
        self._started_s = self._said_s = time.monotonic()

    def begin(self, name: str, total: int | None, unit: str, *, done: int) -> None:
        """Count a stage, or a part of one, from ``done``: what an earlier call did says nothing of the pace."""
        with self._lock:
            self._name, self._unit, self._total = name, unit, total or 0
            self._done = self._before = done
            self._started_s = self._said_s = time.monotonic()

    def advance(self, n: int) -> None:
        """Count ``n`` more units."""
        with self._lock:
            self._done += n

    def end(self) -> None:
        """Say no more of the stage."""
        with self._lock:
            self._name = ""

    def due(self, done: int | None = None) -> str:
        """Return how far the stage is; nothing where none runs, or the last words are recent.

        ``done`` is what is done where that is known before it is counted.
        """
        with self._lock:
            now = time.monotonic()
            if not self._name or now - self._said_s < EVERY_S:
                return ""
            self._said_s = now
            done = self._done if done is None else done
            passed_s = now - self._started_s
            rate = (done - self._before) / max(passed_s, 1e-9)
            if not rate:
                return f"{self._name}: running for {format_seconds(passed_s)}"
            of = ""
            if self._total:
                of = f" of {self._total:,}, {format_seconds((self._total - done) / rate)} left"
            return f"{self._name}: {done:,} {self._unit}{of} ({rate:,.{0 if rate >= 10 else 1}f}/s)"


def format_seconds(seconds: float) -> str:
    """Return ``"50 s"``, ``"12 min"`` or ``"3.5 h"``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
