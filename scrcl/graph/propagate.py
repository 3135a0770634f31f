"""Smoothing over the graph: the normalised adjacency applied n times, in blocks of rows; and plain averages.

The product of the adjacency with the inputs of a graph encoder needs no weights. So it is computed once, before
training, and stays on disk.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

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
    from collections.abc import Callable
    from pathlib import Path

    from scrcl.graph.csr import Graph
    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["average", "propagate"]


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
    weights = partial(normalized_adjacency, graph)
    _repeat(source, weights, graph.indices, out, n_times, block_rows, n_workers, on_rows)


def average(
    points: FloatArray,
    ids: IntArray,
    out: Path,
    *,
    n_times: int,
    block_rows: int = 16_384,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> None:
    """Write the mean of each cell and its neighbours, n times over, to a file that is complete or absent.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n, r), as for `propagate`.
    ids
        ndarray or memory map of int, shape (n, k): neighbours of each cell, -1 for none. A cell without any keeps its
        values.
    out, n_times, block_rows, n_workers, on_rows
        As for `propagate`.

    Raises
    ------
    InputError
        The neighbours are of another number of points, or ``n_times`` is negative.
    """
    source = as_points(points)
    if len(ids) != len(source):
        message = (
            f"ids must have a row for each of the {len(source)} points; got {len(ids)}. "
            "Search the neighbours of these points."
        )
        raise InputError(message)
    _require_times(n_times)
    _repeat(source, partial(_means, ids), ids, out, n_times, block_rows, n_workers, on_rows)


def _means(ids: IntArray, start: int, stop: int) -> Csr:
    """Return some rows of the matrix that averages, with equal weights for a cell and its neighbours."""
    near = np.concatenate([np.arange(start, stop)[:, None], np.asarray(ids[start:stop])], axis=1)
    known = near >= 0
    n_known = known.sum(axis=1)
    weights = np.repeat((1 / n_known).astype(np.float32), n_known)
    starts = np.concatenate([[0], np.cumsum(n_known)])
    return sparse.csr_matrix((weights, near[known], starts), shape=(stop - start, len(ids)))


def _repeat(
    source: FloatArray,
    weights: Callable[[int, int], Csr],
    read: FloatArray | IntArray,
    out: Path,
    n_times: int,
    block_rows: int,
    n_workers: int,
    on_rows: OnRows | None,
) -> None:
    """Apply a matrix n times. ``weights`` returns some of its rows, from the memory map ``read``."""
    scratch = [out.with_name(f".{out.name}.pass{i}.npy") for i in range(2)]
    try:
        for times in range(1, n_times):
            target = scratch[times % 2]
            _apply(source, weights, read, target, block_rows, n_workers, on_rows)
            source = as_points(np.load(target, mmap_mode="r"))
        _apply(source, weights if n_times else None, read, out, block_rows, n_workers, on_rows)
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
    _require_times(n_times)


def _require_times(n_times: int) -> None:
    if n_times < 0:
        message = f"n_times must be 0 or more; got {n_times}. Choose how often to smooth."
        raise InputError(message)


def _apply(
    source: FloatArray,
    weights: Callable[[int, int], Csr] | None,
    read: FloatArray | IntArray,
    out: Path,
    block_rows: int,
    n_workers: int,
    on_rows: OnRows | None,
) -> None:
    """Write one product, or a copy without ``weights``."""
    with atomic_path(out) as partial, RowWriter(partial, *source.shape) as writer:

        def multiply(start: int, stop: int) -> None:
            rows = source[start:stop]
            if weights is not None:
                rows = weights(start, stop) @ source
                release(read, above=SMALL_MAP_BYTES)
            writer.write(start, rows)
            release(source, above=SMALL_MAP_BYTES)

        for_each_block(
            multiply, row_blocks(len(source), block_rows), n_workers=n_workers, on_rows=on_rows
        )
