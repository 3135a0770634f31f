"""Warnings, each once in a call: inputs are opened, and names of cells are read, several times."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["logger_of", "warned_once"]

_LOGGED: ContextVar[set[str] | None] = ContextVar("logged", default=None)
"""Warnings that this call gave."""


def logger_of(name: str) -> logging.Logger:
    """Return the logger of a module, which warns of a thing once inside `warned_once`."""
    logger = logging.getLogger(name)
    logger.addFilter(_is_new)
    return logger


@contextmanager
def warned_once() -> Iterator[None]:
    """Give each warning once, also in calls inside of this one. As a decorator: in each call of a function."""
    if _LOGGED.get() is not None:
        yield
        return
    token = _LOGGED.set(set())
    try:
        yield
    finally:
        _LOGGED.reset(token)


def _is_new(record: logging.LogRecord) -> bool:
    texts, text = _LOGGED.get(), record.getMessage()
    if texts is None or record.levelno < logging.WARNING:
        return True
    is_new = text not in texts
    texts.add(text)
    return is_new
