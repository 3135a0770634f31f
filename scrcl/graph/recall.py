"""The recall of an approximate search: measured against exact search on a sample, and raised to a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scrcl._random import stream
from scrcl.graph.backends import Searcher
from scrcl.io.arrays import for_each_block, row_blocks

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["DistancesOf", "reach_recall"]

DistancesOf: TypeAlias = Callable[[Searcher, "IntArray"], "FloatArray"]
"""Squared distances, (n_rows, k), ascending, of the neighbours that a searcher finds for some points."""

SAMPLE_ROWS = 1_000
BLOCK_ROWS = 500


def reach_recall(
    searcher: Searcher,
    exact: Searcher,
    distances_of: DistancesOf,
    n_points: int,
    *,
    target: float,
    seed: int,
    n_workers: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> float:
    """Let ``searcher`` look further until a sample of 1,000 points reaches the target.

    Parameters
    ----------
    block_rows
        Points of the sample that the searcher is given at a time. They lie everywhere, so each comes with lists
        of its own.

    Returns
    -------
    float
        The recall it has on the sample, under the target only where it can look no further. A
        neighbour counts that is as near as the k-th true one.
    """
    if searcher.name == exact.name:
        return 1.0
    random = stream(seed, "graph.knn.recall")
    n_rows = min(SAMPLE_ROWS, n_points)
    rows = np.sort(random.choice(n_points, n_rows, replace=False, shuffle=False))
    furthest = _distances(exact, distances_of, rows, n_workers)[:, -1:]
    while True:
        n_threads = 1 if searcher.has_threads else n_workers
        found = _distances(searcher, distances_of, rows, n_threads, block_rows)
        recall = float(np.mean(found <= furthest * (1 + 1e-5)))
        if recall >= target or not searcher.look_further():
            return recall


def _distances(
    searcher: Searcher,
    distances_of: DistancesOf,
    rows: IntArray,
    n_workers: int,
    block_rows: int = BLOCK_ROWS,
) -> FloatArray:
    parts: dict[int, FloatArray] = {}

    def search(start: int, stop: int) -> None:
        parts[start] = distances_of(searcher, rows[start:stop])

    for_each_block(search, row_blocks(len(rows), block_rows), n_workers=n_workers)
    return np.concatenate([parts[start] for start in sorted(parts)])
