"""The only place that computes: rows come off the store once, in order, a few blocks at a time.

Dask describes the blocks; a small pool computes them, one task a block, from the read to the mapped
result. Results are taken in the order of the rows. So sums come out the same, bit for bit, whatever
the number of workers; the first faulty block is always the one reported; and a slow block holds the
others back, where dask's own scheduler would let finished results pile up.
"""

from __future__ import annotations

import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import dask
import dask.array as da
import numpy as np
from dask.optimization import cull

from scrcl.errors import InputError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scrcl.typing import Csr, OnRows

__all__ = ["DAMAGE", "iter_rows", "reduce_rows"]

T = TypeVar("T")

DAMAGE = (OSError, EOFError, KeyError, IndexError, TypeError, ValueError, RuntimeError, zlib.error)
"""What h5py, zarr, its codecs, pandas and scipy raise on bytes that are not what was written."""


def reduce_rows(
    x: da.Array,
    map_block: Callable[[int, Csr], T],
    combine: Callable[[T, T], T],
    *,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> T:
    """Return ``combine`` over ``map_block(first_row, block)`` of all row blocks, from the left.

    At most ``n_workers`` blocks and ``n_workers + 3`` results are alive at a time.
    ``map_block`` runs in the workers; ``combine`` in the calling thread, and may change its first
    argument.

    Parameters
    ----------
    x
        Row blocks, shape (n_obs, n_vars), one block of columns.
    on_rows
        Told the number of rows of each block that has been mapped, from its worker.

    Raises
    ------
    StoreError
        A block could not be read; the message names its rows.
    """
    if n_workers < 1:
        raise InputError(f"n_workers must be at least 1; got {n_workers}.")
    tasks = [partial(_map, map_block, block, on_rows) for block in _blocks(x)]
    return reduce(combine, _in_order(tasks, n_workers=n_workers, n_waiting=n_workers + 1))


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


def _map(map_block: Callable[[int, Csr], T], block: _Block, on_rows: OnRows | None) -> T:
    result = map_block(block.start, block.read())
    if on_rows is not None:
        on_rows(block.stop - block.start)
    return result


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
        except DAMAGE as error:
            msg = (
                f"The matrix must be readable; rows {self.start:,} to {self.stop - 1:,} are not: "
                f"{type(error).__name__}: {error}. Copy or download the file again."
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


def _in_order(tasks: Sequence[Callable[[], T]], *, n_workers: int, n_waiting: int) -> Iterator[T]:
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
