"""Smoothing over the graph: the normalised adjacency applied n times, in blocks of rows.

The product of the adjacency with the inputs of a graph encoder needs no weights. So it is computed once, before
training, and stays on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_path, remove
from scrcl.errors import InputError
from scrcl.graph.csr import normalized_adjacency
from scrcl.io.arrays import (
    SMALL_MAP_BYTES,
    RowWriter,
    as_points,
    for_each_block,
    release,
    row_blocks,
)

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.graph.csr import Graph
    from scrcl.typing import FloatArray, OnRows

__all__ = ["propagate"]


def propagate(
    points: FloatArray,
    graph: Graph,
    out: Path,
    *,
    n_times: int,
    block_rows: int = 65_536,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> None:
    """Write ``(D^-1/2 (A + I) D^-1/2)^n_times @ points`` to a file, which is complete or absent.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n, r). A memory map is never copied, but the pages of neighbours are
        read at random.
    graph
        Graph on the n points.
    out
        ``.npy`` file of float32, shape (n, r).
    n_times
        Number of applications; 0 copies. With 2 or more, a scratch file of the same size is written next to ``out``,
        and with 3 or more, two.
    block_rows
        Rows computed at a time. It changes no bit. Memory is ``n_workers`` blocks of rows and their edges.
    n_workers
        Threads.
    on_rows
        Called with the number of rows of each finished block, in every application.

    Raises
    ------
    InputError
        The graph is of another number of points, or ``n_times`` is negative.
    """
    source = as_points(points)
    _check(len(source), graph, n_times)
    scratch = [out.with_name(f".{out.name}.pass{i}.npy") for i in range(2)]
    try:
        for times in range(1, n_times):
            target = scratch[times % 2]
            _apply(source, graph, target, block_rows, n_workers, on_rows)
            source = as_points(np.load(target, mmap_mode="r"))
        _apply(source, graph if n_times else None, out, block_rows, n_workers, on_rows)
    finally:
        for path in scratch:
            remove(path)


def _check(n_points: int, graph: Graph, n_times: int) -> None:
    """Raise InputError if an argument of `propagate` breaks its rule."""
    if graph.n != n_points:
        message = (
            f"graph must have the {n_points} points as nodes; got {graph.n}. "
            "Build it from these points."
        )
        raise InputError(message)
    if n_times < 0:
        message = f"n_times must be 0 or more; got {n_times}. Choose how often to smooth."
        raise InputError(message)


def _apply(
    source: FloatArray,
    graph: Graph | None,
    out: Path,
    block_rows: int,
    n_workers: int,
    on_rows: OnRows | None,
) -> None:
    """Write one product, or a copy if there is no graph."""
    with atomic_path(out) as partial, RowWriter(partial, *source.shape) as writer:

        def multiply(start: int, stop: int) -> None:
            rows = source[start:stop]
            if graph is not None:
                rows = normalized_adjacency(graph, start, stop) @ source
                release(graph.indices, above=SMALL_MAP_BYTES)
            writer.write(start, rows)
            release(source, above=SMALL_MAP_BYTES)

        for_each_block(
            multiply, row_blocks(len(source), block_rows), n_workers=n_workers, on_rows=on_rows
        )
