"""The recall of an approximate search: measured against exact search on a sample, and raised to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import stream
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.ranked import sort_by_distance
from scrcl.graph.rows import for_each_block, row_blocks

if TYPE_CHECKING:
    from scrcl.graph.backends import Searcher
    from scrcl.typing import FloatArray, IntArray

__all__ = ["neighbours", "reach_recall"]

SAMPLE_ROWS = 1_000
BLOCK_ROWS = 250


def neighbours(
    searcher: Searcher, points: FloatArray, rows: IntArray, k: int
) -> tuple[IntArray, FloatArray]:
    """Find ``k`` neighbours of the points in ``rows``, themselves left out.

    Among many equal points a point may not find itself; then the last one found is left out. Points
    of which the search finds too few are searched exactly.

    Returns
    -------
    ids, squared
        ndarrays of int64 and float32 (squared Euclidean distances), shape (n_rows, k), ascending.
    """
    ids, squared = _others(searcher, points, rows, k)
    lacking = np.flatnonzero(ids[:, -1] < 0)
    if len(lacking):
        ids[lacking], squared[lacking] = _others(ExactSearcher(points), points, rows[lacking], k)
    return ids, squared


def reach_recall(
    searcher: Searcher, points: FloatArray, k: int, *, target: float, seed: int, n_workers: int = 1
) -> float:
    """Let ``searcher`` look further until a sample of 1,000 points reaches the target.

    Returns
    -------
    float
        The recall it has on the sample, under the target only where it can look no further. A
        neighbour counts that is as near as the k-th true one.
    """
    n_rows = min(SAMPLE_ROWS, len(points))
    random = stream(seed, "graph.knn.recall")
    rows = np.sort(random.choice(len(points), n_rows, replace=False, shuffle=False))
    furthest = _distances(ExactSearcher(points), points, rows, k, n_workers)[:, -1:]
    while True:
        found = _distances(searcher, points, rows, k, n_workers)
        recall = float(np.mean(found <= furthest * (1 + 1e-5)))
        if recall >= target or not searcher.look_further():
            return recall


def _distances(
    searcher: Searcher, points: FloatArray, rows: IntArray, k: int, n_workers: int
) -> FloatArray:
    squared = np.empty((len(rows), k), np.float32)

    def search(start: int, stop: int) -> None:
        _, squared[start:stop] = _others(searcher, points, rows[start:stop], k)

    for_each_block(search, row_blocks(len(rows), BLOCK_ROWS), n_workers=n_workers)
    return squared


def _others(
    searcher: Searcher, points: FloatArray, rows: IntArray, k: int
) -> tuple[IntArray, FloatArray]:
    ids, squared = searcher.search(points[rows], k + 1)
    drop = ids == rows[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(rows), k)
    return sort_by_distance(ids[~drop].reshape(shape), squared[~drop].reshape(shape))
