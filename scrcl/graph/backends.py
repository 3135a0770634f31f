"""The search backends by name: what each must do, which one suits, how each is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, get_args

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.index import HnswSearcher, IvfSearcher, on_gpu
from scrcl.graph.names import APPROXIMATE, Backend, no_proof
from scrcl.graph.partition import coarse_centroids, partition
from scrcl.graph.partitioned import PartitionedSearcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scrcl.graph.partition import Partition
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Searcher", "choose", "searcher_of"]

EXACT_BELOW = 20_000
IVF_LEAST_ROWS = 40


class Searcher(Protocol):
    """Finds near points."""

    name: str
    has_threads: bool
    """Whether a search uses all cores by itself; else several may run at once."""

    @property
    def order(self) -> IntArray | None:
        """The points in an order in which those that are searched together lie together."""

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return ids (int64, -1 where missing) and squared distances, (n_queries, k), ascending."""

    def look_further(self) -> bool:
        """Trade speed for recall from now on; False where there is nothing more to look at."""

    def effort(self) -> Mapping[str, float]:
        """Return the numbers that say how far it looks, for people to read."""


def choose(
    backend: str,
    n_points: int,
    n_dims: int,
    *,
    n_queries: int | None = None,
    recall: float,
    device: str,
    memory: int | None,
) -> str:
    """Return the backend that a search will use.

    "auto" is exact where that is soon done (20,000 points, each a query) and where a recall of 1 is asked
    for; the GPU's inverted file where FAISS has a GPU and the index fits into half of ``memory``
    (bytes) on its way there; else the partition, which needs hardly any.

    Raises
    ------
    InputError
        For an unknown name, a recall that is no share, or a recall of 1 of an approximate search.
    """
    if backend not in get_args(Backend):
        names = ", ".join(get_args(Backend))
        msg = f"backend must be one of {names}; got {backend!r}. Choose one of these."
        raise InputError(msg)
    if not 0 < recall <= 1:
        msg = f"recall must lie above 0 and at most at 1; got {recall}. Give a share such as 0.95."
        raise InputError(msg)
    if recall == 1 and backend in APPROXIMATE:
        raise InputError(no_proof(backend))
    if backend != "auto":
        return backend
    few = n_points * (n_points if n_queries is None else n_queries) < EXACT_BELOW**2
    if few or recall == 1:
        return "exact"
    fits = memory is None or n_points * (4 * n_dims + 8) <= memory // 2
    return "ivf" if on_gpu(device) and fits else "partitioned"


def searcher_of(
    backend: str,
    points: FloatArray,
    k: int,
    *,
    seed: int,
    device: str = "cpu",
    lists: Partition | None = None,
    folder: Path | None = None,
    n_workers: int | None = None,
) -> Searcher:
    """Make the searcher of a backend that was chosen.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    k
        Number of neighbours that will be asked for.
    lists
        A partition of the points for "partitioned"; made where None.
    folder
        Where "partitioned" may keep a copy of the points; in memory where None.
    n_workers
        Threads that make a partition; one for each core where None.
    """
    if backend == "partitioned":
        lists = lists or partition(points, seed=seed, n_workers=n_workers)
        if len(lists.order) != len(points):
            msg = (
                f"lists must be a partition of the {len(points)} points; got one of "
                f"{len(lists.order)}. Make it of the same points."
            )
            raise InputError(msg)
        return PartitionedSearcher(points, lists, folder=folder)
    if backend == "ivf":
        n_lists = max(1, min(round(2 * np.sqrt(len(points))), len(points) // IVF_LEAST_ROWS))
        return IvfSearcher(points, coarse_centroids(points, n_lists, seed=seed), device=device)
    if backend == "hnsw":
        return HnswSearcher(points)
    if backend == "pynndescent":
        from scrcl.graph.descent import DescentSearcher

        return DescentSearcher(points, k, seed=seed)
    return ExactSearcher(points)
