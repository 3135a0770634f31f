"""Smoothing over neighbours: a matrix of weights is applied n times, in blocks of rows.

The weights are the normalised adjacency of a graph, or plain averages over neighbours. The product of the adjacency
with the inputs of a graph encoder has no trained weights. So it is computed once, before training, and stays on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    row_starts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scrcl.graph.csr import Graph
    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["Weights", "adjacency_weights", "averages", "mean_weights", "propagate"]


@dataclass(frozen=True)
class Weights:
    """A sparse matrix, shape (n, n), of which some rows at a time are made."""

    n: int
    rows: Callable[[int, int], Csr]
    """takes the first row and the one after the last; returns float32, shape (rows, n)"""
    read: FloatArray | IntArray
    """array or memory map that `rows` reads; its pages are released after each block"""


def adjacency_weights(graph: Graph) -> Weights:
    """Return the normalised adjacency ``D^-1/2 (A + I) D^-1/2`` of a graph."""
    return Weights(graph.n, partial(normalized_adjacency, graph), graph.indices)


def mean_weights(ids: IntArray) -> Weights:
    """Return the matrix that averages over each cell and its neighbours.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n, k): neighbours of each cell, -1 for none. A cell without any keeps its
        values.
    """
    return Weights(len(ids), partial(_mean_rows, ids), ids)


def _mean_rows(ids: IntArray, start: int, stop: int) -> Csr:
    near = np.concatenate([np.arange(start, stop)[:, None], np.asarray(ids[start:stop])], axis=1)
    return averages(near, len(ids))


def averages(ids: IntArray, n_columns: int) -> Csr:
    """Return the matrix whose rows take the mean over the columns that a row of ids names; -1 names none."""
    known = ids >= 0
    n_known = known.sum(axis=1)
    shares = np.repeat((1 / np.maximum(n_known, 1)).astype(np.float32), n_known)
    return sparse.csr_matrix((shares, ids[known], row_starts(n_known)), shape=(len(ids), n_columns))


def propagate(
    points: FloatArray,
    weights: Weights,
    out: Path,
    *,
    n_times: int,
    block_rows: int = 65_536,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> None:
    """Write ``weights^n_times @ points`` to a file, which is complete or absent.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n, r). A memory map is never copied, but the pages of neighbours are
        read at random.
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
        The weights are of another number of points, or ``n_times`` is negative.
    """
    source = as_points(points)
    _check(len(source), weights.n, n_times)
    write = partial(_write_product, block_rows=block_rows, n_workers=n_workers, on_rows=on_rows)
    scratch = [out.with_name(f".{out.name}.pass{i}.npy") for i in range(2)]
    try:
        for times in range(1, n_times):
            target = scratch[times % 2]
            write(source, weights, target)
            source = as_points(np.load(target, mmap_mode="r"))
        write(source, weights if n_times else None, out)
    finally:
        for path in scratch:
            remove(path)


def _check(n_points: int, n_weights: int, n_times: int) -> None:
    """Raise InputError if an argument of `propagate` breaks its rule."""
    if n_weights != n_points:
        message = (
            f"neighbours must be those of the {n_points} points; got those of {n_weights}. "
            "Search the neighbours of these points."
        )
        raise InputError(message)
    if n_times < 0:
        message = f"n_times must be 0 or more; got {n_times}. Choose how often to smooth."
        raise InputError(message)


def _write_product(
    source: FloatArray,
    weights: Weights | None,
    out: Path,
    *,
    block_rows: int,
    n_workers: int,
    on_rows: OnRows | None,
) -> None:
    """Write one product, or a copy without ``weights``."""
    with atomic_path(out) as unfinished, RowWriter(unfinished, *source.shape) as writer:

        def multiply(start: int, stop: int) -> None:
            rows = source[start:stop]
            if weights is not None:
                rows = weights.rows(start, stop) @ source
                release(weights.read, above=SMALL_MAP_BYTES)
            writer.write(start, rows)
            release(source, above=SMALL_MAP_BYTES)

        for_each_block(
            multiply, row_blocks(len(source), block_rows), n_workers=n_workers, on_rows=on_rows
        )
