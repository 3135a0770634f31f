"""Map a function over the row blocks of a matrix: one read, in order, with few blocks in memory.

Dask describes the blocks, and this module computes them, one task for each block, from the read to the mapped
result. The tasks run on threads of this process or on the workers of a ``distributed`` client. Results are
taken in the order of the rows. Therefore:

- Sums have the same bits for any number of workers.
- The first faulty block is the one that is reported.
- A slow block holds back the others. The scheduler of dask would let finished results pile up.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import dask
import dask.array as da
import numpy as np
from dask.optimization import cull

from scrcl._warnings import logger_of
from scrcl.errors import InputError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scrcl.typing import Csr, OnRows

__all__ = [
    "DAMAGE",
    "Reading",
    "RowBlock",
    "blocks_of",
    "damage_named",
    "iter_rows",
    "map_rows",
    "reduce_rows",
]

T = TypeVar("T")

_LOG = logger_of(__name__)

_STALLED_S = 10.0
"""How long a result may take before the workers of a client are counted."""

DAMAGE = Exception
"""Errors that libraries raise on damaged files: no list of them is complete. Those of scrcl pass as they are."""


@contextmanager
def damage_named(rule: str) -> Iterator[None]:
    """Turn errors of a damaged source into StoreError. ``rule`` says what must be, as ``FILE must be complete``."""
    try:
        yield
    except ScrclError:
        raise
    except DAMAGE as error:
        message = f"{rule}; got {type(error).__name__}: {error}. Copy or download it again."
        raise StoreError(message) from error


@dataclass(frozen=True)
class Reading:
    """Who reads the blocks of a matrix, and who hears of it. No result depends on it.

    Attributes
    ----------
    n_workers
        Threads. At most as many blocks, and two more results, are in memory at a time.
    on_rows
        Called in the calling thread with the number of rows of each block that was mapped.
    client
        A ``distributed.Client``. All threads of its workers map blocks, and ``n_workers`` is ignored. The workers must
        see the same files.
    """

    n_workers: int = 2
    on_rows: OnRows | None = None
    client: Any = None


def map_rows(
    x: da.Array, map_block: Callable[[int, Any], T], reading: Reading = Reading()
) -> Iterator[tuple[int, T]]:
    """Yield ``(first_row, map_block(first_row, block))`` for all row blocks, in the order of the rows.

    Parameters
    ----------
    x
        Row blocks, shape (n_obs, n_vars), one block of columns.
    map_block
        Runs in the workers. It must not change anything but files of its own block. If it has a method
        ``of_rows(start, stop)``, the result of that method maps these rows instead. So workers on other
        machines receive only the data of a block, and not of all cells.

    Raises
    ------
    StoreError
        A block could not be read; the message names its rows.
    """
    if reading.n_workers < 1:
        message = f"n_workers must be at least 1; got {reading.n_workers}."
        raise InputError(message)
    blocks = blocks_of(x)
    of_rows = getattr(map_block, "of_rows", None)
    tasks = [
        partial(_map, of_rows(block.start, block.stop) if of_rows else map_block, block)
        for block in blocks
    ]
    pool, n_threads = _pool(reading)
    results = _in_order(tasks, pool, n_waiting=n_threads + 1, client=reading.client)
    for block, result in zip(blocks, results, strict=True):
        if reading.on_rows is not None:
            reading.on_rows(block.stop - block.start)
        yield block.start, result


def reduce_rows(
    x: da.Array,
    map_block: Callable[[int, Any], T],
    combine: Callable[[T, T], T],
    reading: Reading = Reading(),
) -> T:
    """Return the results of `map_rows`, combined from the left.

    ``combine`` runs in the calling thread and may change its first argument.
    """
    return reduce(combine, (result for _, result in map_rows(x, map_block, reading)))


def iter_rows(x: da.Array, *, n_ahead: int = 1) -> Iterator[tuple[int, Csr]]:
    """Yield ``(first_row, block)`` in order. Up to ``n_ahead`` further blocks are read meanwhile.

    Raises
    ------
    StoreError
        A block could not be read; the message names its rows.
    """
    blocks = blocks_of(x)
    if n_ahead < 1:
        for block in blocks:
            yield block.start, block.read()
        return
    reads = _in_order([block.read for block in blocks], _threads(n_ahead), n_waiting=n_ahead)
    for block, rows in zip(blocks, reads, strict=True):
        yield block.start, rows


def _map(map_block: Callable[[int, Any], T], block: RowBlock) -> T:
    return map_block(block.start, block.read())


def _pool(reading: Reading) -> tuple[Executor, int]:
    """Return the executor, and the number of blocks that it computes at a time."""
    if reading.client is None:
        return _threads(reading.n_workers), reading.n_workers
    executor: Executor = reading.client.get_executor()
    return executor, max(sum(reading.client.nthreads().values()), 1)


def _threads(n_workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_workers, thread_name_prefix="scrcl-rows")


@dataclass(frozen=True)
class RowBlock:
    """Rows ``start`` to ``stop`` of a dask array."""

    start: int
    stop: int
    key: tuple[str, int, int]
    graph: Any

    def read(self) -> Csr:
        """Compute the block in the calling thread."""
        try:
            return dask.get(self.graph, self.key)
        except ScrclError:
            raise
        except DAMAGE as error:
            message = (
                f"The matrix must be readable; rows {self.start:,} to {self.stop - 1:,} are not: "
                f"{type(error).__name__}: {error}. Copy or download the file again."
            )
            raise StoreError(message) from error


def blocks_of(x: da.Array) -> list[RowBlock]:
    """Return the row blocks of ``x``. Dask fuses reading and conversion where it can."""
    assert x.numblocks[1] == 1
    (x,) = dask.optimize(x)
    graph = dict(x.__dask_graph__())
    ends = np.cumsum([0, *x.chunks[0]]).tolist()
    keys = [(x.name, index, 0) for index in range(len(ends) - 1)]
    return [
        RowBlock(start, stop, key, cull(graph, [key])[0])
        for key, (start, stop) in zip(keys, pairwise(ends), strict=True)
    ]


def _in_order(
    tasks: Sequence[Callable[[], T]], pool: Executor, *, n_waiting: int, client: Any = None
) -> Iterator[T]:
    """Yield the results of ``tasks`` in order, with at most ``n_waiting`` of them started ahead."""
    waiting: deque[Future[T]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > n_waiting:
                yield _first(waiting, client)
        while waiting:
            yield _first(waiting, client)
    finally:
        for future in waiting:
            future.cancel()
        # Wait, because a running block could still write into a folder that is about to be removed.
        pool.shutdown(wait=True)


def _first(waiting: deque[Future[T]], client: Any) -> T:
    """Take the first result. Until it is there it stays among those that an interruption cancels."""
    if client is not None:
        _warn_without_workers(waiting[0], client)
    result = _result(waiting[0])
    waiting.popleft()
    return result


def _warn_without_workers(future: Future[Any], client: Any) -> None:
    """Wait for a result, and say so where the scheduler has no worker that could compute it."""
    while not wait([future], timeout=_STALLED_S).done:
        if client.status == "running" and not client.nthreads():
            _LOG.warning(
                "The scheduler %s has no workers; the run waits until some have started.",
                client.scheduler.address,
            )


def _result(future: Future[T]) -> T:
    """Return the result. Errors of ``distributed`` itself, such as a lost worker, become StoreError."""
    try:
        return future.result()
    except Exception as error:
        if not type(error).__module__.startswith("distributed"):
            raise
        message = (
            f"The workers of the scheduler must stay alive; got {type(error).__name__}: {error}. "
            "Check their logs, and run the same command again."
        )
        raise StoreError(message) from error
