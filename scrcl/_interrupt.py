"""A request to stop, which work that must not break off in the middle may hold back for a moment."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNALS", "Interrupted", "Interruption"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """Work stopped because it was asked to; whatever was finished is kept.

    Attributes
    ----------
    number
        The signal that asked, or would have.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Interruption:
    """Whether somebody asked the work to stop: a signal, or another thread by `ask`.

    Give one to `scrcl.fit`; nobody's signal handlers change unless `on_signals` is used.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._is_held = False

    @property
    def asked(self) -> int:
        """Number of the signal that asked; 0 where none did."""
        return self._asked

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Ask to stop: after the training step at work, or before the next stage."""
        self._asked = self._asked or int(number)

    def check(self) -> None:
        """Raise `Interrupted` where somebody asked."""
        if self._asked:
            raise Interrupted(self._asked)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let signals only ask inside the block, which looks at `asked` itself."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        self.check()

    @classmethod
    @contextmanager
    def on_signals(cls) -> Iterator[Interruption]:
        """Yield one that SIGINT, SIGTERM and SIGUSR1 ask; on the main thread only.

        Outside of `held` a signal also raises `Interrupted` where the main thread is; so does a
        second Ctrl-C everywhere.
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
