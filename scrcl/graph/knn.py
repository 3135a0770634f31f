"""k nearest neighbours of every point, with the recall measured wherever the search is approximate.

A search (`scrcl.graph.backends`) is told to look further until, on a sample of points that are also
searched exactly, the wanted share of true neighbours is found.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.backends import choose, searcher_of
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.ranked import without_self
from scrcl.graph.recall import reach_recall
from scrcl.io.arrays import (
    SMALL_MAP_BYTES,
    as_points,
    cores,
    for_each_block,
    index_dtype,
    new_map,
    release,
    require_finite,
    require_neighbors,
    row_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from scrcl.graph.backends import Searcher
    from scrcl.graph.partition import Partition
    from scrcl.typing import FloatArray, IntArray, OnRows

__all__ = ["KnnResult", "knn", "require_enough_points"]

BLOCK_ROWS = 16_384
SAMPLE_ROWS = 500
"""Sample points searched at a time; fewer where the lists they touch would take gigabytes."""


@dataclass(frozen=True)
class KnnResult:
    """Neighbours of every point, nearest first, itself left out."""

    ids: NDArray[np.int32]
    """shape (n_points, k); int64 where point numbers need it"""
    distances: NDArray[np.float32]
    """shape (n_points, k), Euclidean, ascending in each row"""
    recall: float
    """Share of true neighbours found: 1.0 where exact, measured on a sample where approximate."""
    backend: str
    """Name of the search, or "kdtree"."""
    effort: Mapping[str, float] = field(default_factory=dict)
    """How far the search looks."""


def knn(
    points: FloatArray,
    k: int,
    *,
    seed: int,
    backend: str = "auto",
    recall_target: float = 0.95,
    device: str = "cpu",
    lists: Partition | None = None,
    folder: Path | None = None,
    memory: int | None = None,
    block_rows: int = BLOCK_ROWS,
    n_workers: int | None = None,
    on_rows: OnRows | None = None,
) -> KnnResult:
    """Find the ``k`` nearest other points of every point.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks.
    k
        Number of neighbours.
    seed
        Root of the random streams (lists and recall sample). The result is a function of the points
        and the seed, whatever the number of threads, but for "hnsw" and "pynndescent".
    backend
        "exact", "partitioned", "ivf", "hnsw", "pynndescent", or "auto"; see
        `scrcl.graph.backends.choose`.
    recall_target
        Share of true neighbours that an approximate search must find on the sample.
    device
        Where "ivf" searches: ``cpu``, ``cuda`` or ``cuda:N`` (with a GPU build of FAISS).
    lists
        A `partition` of the points for "partitioned"; made where None.
    folder
        Where ``ids.npy`` and ``distances.npy`` are written, and opened as memory maps, and where
        "partitioned" keeps a copy of the points while it works; in memory, both, where None.
    memory
        Bytes that "auto" may let an index take.
    block_rows
        Points searched at a time.
    n_workers
        Threads; one for each core where None.

    Returns
    -------
    KnnResult
        Equal distances are ordered by id.

    Raises
    ------
    InputError
        When there are not more than ``k`` points, or an argument breaks its rule.
    """
    points = as_points(points)
    n_points, n_dims = points.shape
    name = choose(backend, n_points, n_dims, recall=recall_target, device=device, memory=memory)
    require_enough_points(n_points, k)
    require_finite(points)
    workers = n_workers or cores()
    exact = ExactSearcher(points)
    ids = _array(folder, "ids", (n_points, k), index_dtype(n_points))
    distances = _array(folder, "distances", (n_points, k), np.dtype(np.float32))
    with _scratch(folder) as scratch:
        searcher = searcher_of(
            name,
            points,
            k,
            seed=seed,
            device=device,
            lists=lists,
            folder=scratch,
            n_workers=workers,
        )

        def find(searcher: Searcher, rows: IntArray) -> tuple[IntArray, FloatArray]:
            return without_self(*searcher.search(points[rows], k + 1), rows)

        recall = reach_recall(
            searcher,
            exact,
            lambda searcher, rows: find(searcher, rows)[1],
            n_points,
            target=recall_target,
            seed=seed,
            n_workers=workers,
            block_rows=SAMPLE_ROWS if points.nbytes < 4 * SMALL_MAP_BYTES else SAMPLE_ROWS // 5,
        )

        def keep(start: int, stop: int) -> None:
            rows = np.arange(start, stop) if searcher.order is None else searcher.order[start:stop]
            found, squared = find(searcher, rows)
            lacking = np.flatnonzero(found[:, -1] < 0)
            if len(lacking):
                found[lacking], squared[lacking] = find(exact, rows[lacking])
            ids[rows], distances[rows] = found, np.sqrt(squared)
            for array in (points, ids, distances):
                release(array, above=SMALL_MAP_BYTES)

        n_threads = 1 if searcher.has_threads else workers
        for_each_block(keep, row_blocks(n_points, block_rows), n_workers=n_threads, on_rows=on_rows)
    return KnnResult(ids, distances, recall, name, searcher.effort())


def require_enough_points(n_points: int, k: int) -> None:
    """Raise InputError unless every point can have ``k`` others."""
    require_neighbors(k)
    if n_points <= k:
        msg = (
            f"k must be less than the number of points, {n_points}; got {k}. "
            "Ask for fewer neighbours or give more points."
        )
        raise InputError(msg)


def _array(folder: Path | None, name: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Any:
    """Return an empty array, as a file of the folder where there is one."""
    if folder is None:
        return np.empty(shape, dtype)
    return new_map(folder / f"{name}.npy", dtype, shape)


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path | None]:
    """Give a folder inside ``folder`` for the time of the block."""
    if folder is None:
        yield None
        return
    with TemporaryDirectory(dir=folder, prefix="points-") as scratch:
        yield Path(scratch)
