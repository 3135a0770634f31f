"""Requests to stop. Work that must not be interrupted in the middle can delay them."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["SIGNALS", "Interrupted", "Interruption"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """Work stopped on request. Everything finished before is kept.

    Attributes
    ----------
    number
        Number of the signal, or the number given to `Interruption.ask`.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Interruption:
    """Holds a request to stop, which comes from a signal or from another thread through `ask`.

    Pass one to `scrcl.fit`. Signal handlers change only if `on_signals` is used.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._is_held = False

    @property
    def asked(self) -> int:
        """Number of the signal that requested the stop; 0 without a request."""
        return self._asked

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Request a stop after the current training step, or before the next stage."""
        self._asked = self._asked or int(number)

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested."""
        if self._asked:
            raise Interrupted(self._asked)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block, signals only set `asked`, which the block checks itself. Raise after it."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        self.check()

    @classmethod
    @contextmanager
    def on_signals(cls) -> Iterator[Interruption]:
        """Yield an `Interruption` that SIGINT, SIGTERM and SIGUSR1 set. Use it only on the main thread.

        Outside of `held`, a signal also raises `Interrupted` in the main thread at once, unless a function is being
        compiled. A second Ctrl-C does so even inside.
        """
        interruption = cls()

        def receive(number: int, frame: FrameType | None) -> None:
            again = bool(interruption.asked)
            interruption.ask(number)
            waits = interruption._is_held or _is_compiling(frame)
            if number == signal.SIGINT if again else not waits:
                raise Interrupted(interruption.asked)

        before = {number: signal.signal(number, receive) for number in SIGNALS}
        try:
            yield interruption
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _is_compiling(frame: FrameType | None) -> bool:
    """Return whether numba is at work. LLVM calls Python back, and an exception there ends the process by a fault."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in {"numba", "llvmlite"}:
            return True
        frame = frame.f_back
    return False
