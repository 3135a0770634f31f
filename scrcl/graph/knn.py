"""The k nearest neighbours of every point, with a measured recall if the search is approximate.

An approximate search is widened until it reaches the wanted recall on a subset of points, which are also searched
exactly.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.backends import Search, choose, make_searcher
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.ranked import without_self
from scrcl.graph.recall import reach_recall
from scrcl.graph.searcher import SearchTask
from scrcl.io.arrays import (
    SMALL_MAP_BYTES,
    as_points,
    cores,
    for_each_block,
    gathered,
    index_dtype,
    new_map,
    release,
    require_finite,
    require_neighbors,
    row_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from scrcl.graph.partition import Partition
    from scrcl.graph.searcher import Searcher
    from scrcl.typing import FloatArray, IntArray, OnRows

__all__ = ["KnnResult", "knn", "require_enough_points"]

_BLOCK_ROWS = 16_384
_SAMPLE_ROWS = 500
"""Points of the recall subset searched at a time."""

_DEFAULT_SEARCH = Search()


@dataclass(frozen=True)
class KnnResult:
    """Neighbours of every point, nearest first, without the point itself."""

    ids: NDArray[np.int32]
    """shape (n_points, k); int64 if there are more points than int32 can number"""
    distances: NDArray[np.float32]
    """shape (n_points, k), Euclidean, ascending in each row"""
    recall: float
    """Share of true neighbours found: 1.0 if exact, else measured on a subset"""
    backend: str
    """Name of the search, or "kdtree" """
    effort: Mapping[str, float] = field(default_factory=dict)
    """How widely it searched, as named numbers"""
    excess: float = 0.0
    """How much farther the neighbours are than the true ones, on average, as a share"""


def knn(
    points: FloatArray,
    k: int,
    *,
    seed: int,
    search: Search = _DEFAULT_SEARCH,
    partition: Partition | None = None,
    folder: Path | None = None,
    block_rows: int = _BLOCK_ROWS,
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
        Root of the random streams (partition and recall subset). The result is a function of the points, the settings
        and the seed, for any number of threads. The exceptions are "hnsw" and "pynndescent".
    search
        Backend, recall to reach, and device.
    partition
        A partition of the points, for "partitioned"; made if None.
    folder
        Where ``ids.npy`` and ``distances.npy`` are written and opened as memory maps. "partitioned" also keeps a copy
        of the points there while it works. If None, all of these are in memory.
    block_rows
        Points searched at a time. It changes no result.
    n_workers
        Threads; one per core if None.
    on_rows
        Called with the number of points of each finished block.

    Returns
    -------
    KnnResult
        Equal distances are ordered by id.

    Raises
    ------
    InputError
        There are not more than ``k`` points, a value is not finite, or a setting breaks its rule.
    """
    points = as_points(points)
    n_points, n_dims = points.shape
    backend = choose(search, n_points, n_dims)
    require_enough_points(n_points, k)
    require_finite(points)
    workers = n_workers or cores()
    exact = ExactSearcher(points)
    ids = _new_array(folder, "ids", (n_points, k), index_dtype(n_points))
    distances = _new_array(folder, "distances", (n_points, k), np.dtype(np.float32))
    with _scratch(folder) as scratch:
        task = SearchTask(
            k=k,
            seed=seed,
            device=search.device,
            partition=partition,
            folder=scratch,
            n_workers=workers,
            bounded=search.bounded,
        )
        searcher = make_searcher(backend, points, task)

        def find(searcher: Searcher, rows: IntArray) -> tuple[IntArray, FloatArray]:
            own = gathered(points, rows, above=SMALL_MAP_BYTES)
            return without_self(*searcher.search(own, k + 1), rows)

        reached = reach_recall(
            searcher,
            exact,
            lambda searcher, rows: find(searcher, rows)[1],
            n_points,
            target=search.recall,
            seed=seed,
            n_workers=workers,
            block_rows=_sample_rows(points),
        )

        def store(start: int, stop: int) -> None:
            rows = np.arange(start, stop) if searcher.order is None else searcher.order[start:stop]
            found, squared = find(searcher, rows)
            _complete(found, squared, lambda short: find(exact, rows[short]))
            ids[rows], distances[rows] = found, np.sqrt(squared)
            for array in (points, ids, distances):
                release(array, above=SMALL_MAP_BYTES)

        n_threads = 1 if searcher.has_threads else workers
        for_each_block(
            store, row_blocks(n_points, block_rows), n_workers=n_threads, on_rows=on_rows
        )
    return KnnResult(ids, distances, reached.recall, backend, searcher.effort(), reached.excess)


def _sample_rows(points: FloatArray) -> int:
    """Return how many points of the sample are searched at a time.

    They are everywhere, so a block of them touches many lists: gigabytes if points are large.
    """
    return _SAMPLE_ROWS if points.nbytes < 4 * SMALL_MAP_BYTES else _SAMPLE_ROWS // 5


def _complete(
    found: IntArray,
    squared: FloatArray,
    search: Callable[[IntArray], tuple[IntArray, FloatArray]],
) -> None:
    """Fill in the rows for which the searched lists held fewer than k points, by an exact ``search`` of these rows."""
    short = np.flatnonzero(found[:, -1] < 0)
    if len(short):
        found[short], squared[short] = search(short)


def require_enough_points(n_points: int, k: int) -> None:
    """Raise InputError unless every point can have ``k`` others as neighbours."""
    require_neighbors(k)
    if n_points <= k:
        message = (
            f"k must be less than the number of points, {n_points}; got {k}. "
            "Ask for fewer neighbours or give more points."
        )
        raise InputError(message)


def _new_array(folder: Path | None, name: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Any:
    """Return an empty array, as a file of the folder if there is one."""
    if folder is None:
        return np.empty(shape, dtype)
    return new_map(folder / f"{name}.npy", dtype, shape)


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path | None]:
    """Make a folder inside ``folder`` that is removed after the block."""
    if folder is None:
        yield None
        return
    with TemporaryDirectory(dir=folder, prefix="points-") as scratch:
        yield Path(scratch)
