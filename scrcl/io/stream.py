"""The only place that computes: rows come off the store once, in order, a few blocks at a time.

Dask describes the blocks; a small pool computes them, one task a block, from the read to the mapped
result. Results are taken in the order of the rows. So sums come out the same, bit for bit, whatever
the number of workers; the first faulty block is always the one reported; and a slow block holds the
others back, where dask's own scheduler would let finished results pile up.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import dask
import dask.array as da
import numpy as np
from dask.optimization import cull

from scrcl.errors import InputError, ScrclError, StoreError
from scrcl.typing import Csr, OnRows

__all__ = ["iter_rows", "reduce_rows"]

T = TypeVar("T")

# What h5py, zarr, its codecs and scipy raise on bytes that are not what was written.
_DAMAGE = (OSError, EOFError, KeyError, IndexError, TypeError, ValueError, RuntimeError, zlib.error)


def reduce_rows(
    x: da.Array,
    map_block: Callable[[int, Csr], T],
    combine: Callable[[T, T], T],
    *,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> T:
    """Return ``combine`` over ``map_block(first_row, block)`` of all row blocks, from the left.

    At most ``n_workers`` blocks and ``n_workers + 2`` mapped results are alive at a time.
    ``map_block`` runs in the workers; ``combine`` in the calling thread, and may change its first
    argument.

    Parameters
    ----------
    x
        Row blocks, shape (n_obs, n_vars), one block of columns.
    on_rows
        Told the number of rows of each block that has been combined.

    Raises
    ------
    StoreError
        A block could not be read; the message names its rows.
    """
    if n_workers < 1:
        raise InputError(f"n_workers must be at least 1; got {n_workers}.")
    blocks = _blocks(x)
    assert blocks
    tasks = [lambda block=block: map_block(block.start, block.read()) for block in blocks]
    results = _in_order(tasks, n_workers=n_workers, n_waiting=n_workers + 1)
    total: Any = None
    for index, (block, result) in enumerate(zip(blocks, results, strict=True)):
        total = result if index == 0 else combine(total, result)
        if on_rows is not None:
            on_rows(block.stop - block.start)
    return total  # type: ignore[no-any-return]


def iter_rows(x: da.Array, *, n_ahead: int = 1) -> Iterator[tuple[int, Csr]]:
    """Yield ``(first_row, block)`` in order, while up to ``n_ahead`` further blocks are read.

    Raises
    ------
    StoreError
        A block could not be read; the message names its rows.
    """
    blocks = _blocks(x)
    reads = [block.read for block in blocks]
    if n_ahead < 1:
        for block in blocks:
            yield block.start, block.read()
        return
    for block, rows in zip(
        blocks, _in_order(reads, n_workers=n_ahead, n_waiting=n_ahead), strict=True
    ):
        yield block.start, rows


@dataclass(frozen=True)
class _Block:
    """Rows ``start`` to ``stop`` of a dask array."""

    start: int
    stop: int
    key: tuple[str, int, int]
    graph: Any

    def read(self) -> Csr:
        """Compute the block in the calling thread."""
        try:
            return dask.get(cull(self.graph, [self.key])[0], self.key)
        except ScrclError:
            raise
        except _DAMAGE as error:
            msg = (
                f"The matrix must be readable; rows {self.start:,} to {self.stop - 1:,} are not: "
                f"{type(error).__name__}: {error}. The file looks damaged: copy or download it again."
            )
            raise StoreError(msg) from error


def _blocks(x: da.Array) -> list[_Block]:
    """Return the row blocks of ``x``, with reading and conversion fused where dask can."""
    assert x.numblocks[1] == 1
    (x,) = dask.optimize(x)
    graph = dict(x.__dask_graph__())
    ends = np.cumsum([0, *x.chunks[0]]).tolist()
    return [
        _Block(start, stop, (x.name, index, 0), graph)
        for index, (start, stop) in enumerate(pairwise(ends))
    ]


def _in_order(
    tasks: list[Callable[[], T]], *, n_workers: int, n_waiting: int
) -> Iterator[T]:
    """Yield the results of ``tasks`` in order, with at most ``n_waiting`` of them begun ahead."""
    with ThreadPoolExecutor(n_workers, thread_name_prefix="scrcl-rows") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > n_waiting:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
