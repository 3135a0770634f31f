"""The recall of an approximate search: measured against exact search on a subset, and raised to a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from scrcl._random import stream
from scrcl.graph.searcher import Searcher
from scrcl.io.arrays import for_each_block, row_blocks

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Reached", "reach_recall"]

_DistancesOf: TypeAlias = Callable[[Searcher, "IntArray"], "FloatArray"]
"""Squared distances, (n_rows, k), ascending, of the neighbours that a searcher finds for some points."""


class Reached(NamedTuple):
    """How well a search finds neighbours, measured on a subset."""

    recall: float
    """Share of neighbours that are as near as the k-th true one"""
    excess: float
    """How much farther the neighbours are than the true ones, on average, as a share"""


_EXACT = Reached(1.0, 0.0)
_SAMPLE_ROWS = 1_000
_BLOCK_ROWS = 500


def reach_recall(
    searcher: Searcher,
    exact: Searcher,
    distances_of: _DistancesOf,
    n_points: int,
    *,
    target: float,
    seed: int,
    n_workers: int = 1,
    block_rows: int = _BLOCK_ROWS,
) -> Reached:
    """Widen a search until it reaches a recall on a subset of 1,000 points; return what it reached.

    Parameters
    ----------
    searcher, exact
        The search to widen, and the exact search of the same points.
    distances_of
        Squared distances of the neighbours that a searcher finds for points of the subset.
    n_points
        Number of points that the subset is drawn from.
    target
        Recall to reach.
    seed
        Root of the random stream of the subset.
    n_workers
        Threads, for searchers without threads of their own.
    block_rows
        Points of the subset that are searched at a time. They are not near each other, so each visits other lists.

    Returns
    -------
    Reached
        Its recall is below the target only if the search cannot be widened further.
    """
    if searcher.name == exact.name:
        return _EXACT
    random = stream(seed, "graph.knn.recall")
    n_rows = min(_SAMPLE_ROWS, n_points)
    rows = np.sort(random.choice(n_points, n_rows, replace=False, shuffle=False))
    true = _distances(exact, distances_of, rows, n_workers)
    while True:
        n_threads = 1 if searcher.has_threads else n_workers
        found = _distances(searcher, distances_of, rows, n_threads, block_rows)
        # Distances and not ids are compared: of equally near points, any is a true neighbour.
        recall = float(np.mean(found <= true[:, -1:] * (1 + 1e-5)))
        if recall >= target or not searcher.widen():
            return Reached(recall, _excess(found, true))


def _excess(found: FloatArray, true: FloatArray) -> float:
    """Return by which share the mean found distance is above the true one; rows of missing neighbours do not count."""
    whole = np.isfinite(found).all(axis=1)
    total = np.sqrt(true[whole], dtype=np.float64).sum()
    return float(np.sqrt(found[whole], dtype=np.float64).sum() / total - 1) if total else 0.0


def _distances(
    searcher: Searcher,
    distances_of: _DistancesOf,
    rows: IntArray,
    n_workers: int,
    block_rows: int = _BLOCK_ROWS,
) -> FloatArray:
    """Return the distances of all rows, searched in blocks."""
    blocks: dict[int, FloatArray] = {}

    def search(start: int, stop: int) -> None:
        blocks[start] = distances_of(searcher, rows[start:stop])

    for_each_block(search, row_blocks(len(rows), block_rows), n_workers=n_workers)
    return np.concatenate([blocks[start] for start in sorted(blocks)])
