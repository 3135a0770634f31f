"""Requests to stop. Work that must not be interrupted in the middle can delay them."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

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

        Outside of `held`, a signal also raises `Interrupted` in the main thread at once. A second Ctrl-C does so
        even inside.
        """
        interruption = cls()

        def receive(number: int, frame: Any) -> None:
            del frame
            again = bool(interruption.asked)
            interruption.ask(number)
            if number == signal.SIGINT if again else not interruption._is_held:
                raise Interrupted(interruption.asked)

        before = {number: signal.signal(number, receive) for number in SIGNALS}
        try:
            yield interruption
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
