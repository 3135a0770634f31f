"""k nearest neighbours of every point, with the recall measured wherever the search is approximate.

Below 20,000 points each pair is compared. Above, an inverted file (IVF-Flat) compares each point
with the points of the few lists nearest to it; the number of lists is raised until, on a sample of
1,000 points that are also searched exactly, the wanted share of true neighbours is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scrcl._random import stream
from scrcl.errors import InputError
from scrcl.graph.index import ExactSearcher, IvfSearcher, sort_by_distance
from scrcl.graph.kmeans import kmeans
from scrcl.graph.rows import as_points, require_finite, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray, OnRows

__all__ = ["KnnResult", "Searcher", "knn", "make_searcher", "require_enough_points"]

EXACT_BELOW = 20_000
RECALL_ROWS = 1_000
BLOCK_ROWS = 16_384
TRAINING_ROWS_PER_LIST = 40
TRAINING_ITERATIONS = 8


@dataclass(frozen=True)
class KnnResult:
    """Neighbours of every point, nearest first, itself left out."""

    ids: NDArray[np.int32]
    """shape (n_points, k)"""
    distances: NDArray[np.float32]
    """shape (n_points, k), Euclidean, ascending in each row"""
    recall: float
    """Share of true neighbours found: 1.0 where exact, measured on a sample where approximate."""
    backend: str
    """"exact", "ivf" or "kdtree"."""


class Searcher(Protocol):
    """Finds near points; a further backend brings these two methods."""

    name: str

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return ids (int64, -1 where missing) and squared distances, (n_queries, k), ascending."""

    def look_further(self) -> bool:
        """Trade speed for recall from now on; False where there is nothing more to look at."""


def knn(
    points: FloatArray,
    k: int,
    *,
    seed: int,
    backend: str = "auto",
    recall_target: float = 0.95,
    device: str = "cpu",
    block_rows: int = BLOCK_ROWS,
    on_rows: OnRows | None = None,
) -> KnnResult:
    """Find the ``k`` nearest other points of every point.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks. "exact" holds no
        copy; the index of "ivf" holds ``n_points * (4 * n_dims + 8)`` bytes.
    k
        Number of neighbours.
    seed
        Root of the random streams (lists and recall sample). The result is a function of the points
        and the seed, whatever the number of threads.
    backend
        "exact", "ivf", or "auto": exact below 20,000 points.
    recall_target
        Share of true neighbours that "ivf" must find on the sample.
    device
        Where "ivf" searches: ``cpu``, ``cuda`` or ``cuda:N`` (with a GPU build of FAISS).
    block_rows
        Points searched at a time; changes no result.

    Returns
    -------
    KnnResult
        ``8 * n_points * k`` bytes. Equal distances are ordered by id.

    Raises
    ------
    InputError
        When there are not more than ``k`` points, or an argument breaks its rule.
    """
    points = as_points(points)
    _check(backend, recall_target)
    require_enough_points(len(points), k)
    require_finite(points)
    exact = ExactSearcher(points)
    searcher = make_searcher(points, len(points), seed=seed, backend=backend, device=device)
    use_exact = searcher.name == exact.name
    recall = 1.0 if use_exact else _raise_recall(searcher, exact, points, k, seed, recall_target)
    ids, distances = _search_all(searcher, exact, points, k, block_rows, on_rows)
    return KnnResult(ids, distances, recall, searcher.name)


def make_searcher(
    points: FloatArray, n_queries: int, *, seed: int, backend: str = "auto", device: str = "cpu"
) -> Searcher:
    """Return a searcher of ``points`` (float32) for so many queries; "auto" weighs the two."""
    few = len(points) * n_queries < EXACT_BELOW**2
    if backend == "exact" or (backend == "auto" and few):
        return ExactSearcher(points)
    return _inverted_file(points, seed, device)


def require_enough_points(n_points: int, k: int) -> None:
    """Raise InputError unless every point can have ``k`` others."""
    if k < 1:
        msg = f"k must be at least 1; got {k}. Ask for one neighbour or more."
        raise InputError(msg)
    if n_points <= k:
        msg = (
            f"k must be less than the number of points, {n_points}; got {k}. "
            "Ask for fewer neighbours or give more points."
        )
        raise InputError(msg)


def _check(backend: str, recall_target: float) -> None:
    if backend not in {"auto", "exact", "ivf"}:
        msg = f'backend must be "auto", "exact" or "ivf"; got {backend!r}. Choose one of these.'
        raise InputError(msg)
    if not 0 < recall_target <= 1:
        msg = (
            f"recall_target must lie above 0 and at most at 1; got {recall_target}. "
            "Give a share such as 0.95."
        )
        raise InputError(msg)


def _inverted_file(points: FloatArray, seed: int, device: str) -> IvfSearcher:
    """Index the points in about ``2 sqrt(n)`` lists around k-means centroids of a sample."""
    n_lists = max(1, min(round(2 * np.sqrt(len(points))), len(points) // TRAINING_ROWS_PER_LIST))
    random = stream(seed, "graph.knn.lists")
    n_rows = min(len(points), n_lists * TRAINING_ROWS_PER_LIST)
    sample = points[np.sort(random.choice(len(points), n_rows, replace=False, shuffle=False))]
    start = sample[np.sort(random.choice(n_rows, n_lists, replace=False, shuffle=False))]
    lists = kmeans(sample, n_lists, seed=seed, init=start, n_iter=TRAINING_ITERATIONS)
    return IvfSearcher(points, lists.centroids, device=device)


def _raise_recall(
    searcher: Searcher, exact: Searcher, points: FloatArray, k: int, seed: int, target: float
) -> float:
    """Let ``searcher`` look further until a sample reaches the target; return its recall."""
    n_rows = min(RECALL_ROWS, len(points))
    random = stream(seed, "graph.knn.recall")
    rows = np.sort(random.choice(len(points), n_rows, replace=False, shuffle=False))
    queries = points[rows]
    _, truth = _neighbours(exact, queries, rows, k)
    while True:
        _, squared = _neighbours(searcher, queries, rows, k)
        recall = _recall(squared, truth)
        if recall >= target or not searcher.look_further():
            return recall


def _recall(squared: FloatArray, truth: FloatArray) -> float:
    """Return the share of neighbours found that are as near as the k-th true one: ties count."""
    return float(np.mean(squared <= truth[:, -1:] * (1 + 1e-5)))


def _search_all(
    searcher: Searcher,
    exact: Searcher,
    points: FloatArray,
    k: int,
    block_rows: int,
    on_rows: OnRows | None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Search every point, by blocks; points whose lists hold too few are searched exactly."""
    ids = np.empty((len(points), k), np.int32)
    distances = np.empty((len(points), k), np.float32)
    for start, stop in row_blocks(len(points), block_rows):
        rows = np.arange(start, stop)
        found, squared = _neighbours(searcher, points[start:stop], rows, k)
        lacking = np.flatnonzero(found[:, -1] < 0)
        if len(lacking):
            found[lacking], squared[lacking] = _neighbours(
                exact, points[rows[lacking]], rows[lacking], k
            )
        ids[start:stop] = found
        np.sqrt(squared, out=distances[start:stop])
        if on_rows is not None:
            on_rows(stop - start)
    return ids, distances


def _neighbours(
    searcher: Searcher, queries: FloatArray, rows: IntArray, k: int
) -> tuple[IntArray, FloatArray]:
    """Search ``k`` neighbours of the points in ``rows``, themselves left out.

    Among many equal points a point may not find itself; then the last one found is left out.
    """
    ids, squared = searcher.search(queries, k + 1)
    drop = ids == rows[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(rows), k)
    return sort_by_distance(ids[~drop].reshape(shape), squared[~drop].reshape(shape))
