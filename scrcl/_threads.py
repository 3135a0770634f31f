"""Linear algebra on one thread, so that results do not depend on the number of threads."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_blas_thread"]

_lock = Lock()
_limit = ExitStack()
_holders = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit every BLAS library of the process to one thread inside the block.

    The last digits of a threaded matrix product can depend on the number of threads. Several threads may be
    inside such a block at the same time. The limit ends when the last one leaves.
    """
    from threadpoolctl import threadpool_limits

    global _holders  # noqa: PLW0603
    with _lock:
        if not _holders:
            _limit.enter_context(threadpool_limits(limits=1, user_api="blas"))
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _limit.close()
