"""Threads of libraries: linear algebra on one, so that results do not depend on their number; and how they wait."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread", "wait_asleep"]

_lock = Lock()
_limit = ExitStack()
_holders = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit every BLAS library of the process to one thread inside the block.

    The last digits of a threaded matrix product can depend on the number of threads. Several threads may be
    inside such a block at the same time. The limit ends when the last one leaves.
    """
    global _holders  # noqa: PLW0603
    with _lock:
        if not _holders:
            _limit.enter_context(_libraries(len(sys.modules)).limit(limits=1, user_api="blas"))
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _limit.close()


def wait_asleep() -> None:
    """Let waiting OpenMP threads sleep after a few microseconds, which is about what waking them takes.

    They spin by default: on cores shared with other work a training step took fifty times as long. And where nothing
    else runs, the thread that waits for the next operation burns a core. torch reads the variable when it is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "300")


@lru_cache(maxsize=1)
def _libraries(n_modules: int) -> ThreadpoolController:
    """Return the libraries that the process has loaded.

    Finding them takes longer than a product of small matrices. A library comes with a module, so they are sought again
    only once more modules are loaded.
    """
    from threadpoolctl import ThreadpoolController

    del n_modules
    return ThreadpoolController()
