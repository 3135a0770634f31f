"""What a search backend is, and what it may need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scrcl.graph.partition import Partition
    from scrcl.typing import FloatArray, IntArray

__all__ = ["SearchTask", "Searcher"]


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """What a searcher may need to know when it is made.

    Attributes
    ----------
    k
        Number of neighbours that searches will ask for.
    seed
        Root of the random streams.
    device
        See `scrcl.graph.backends.Search`.
    partition
        Partition of the points, for "partitioned"; made if None.
    folder
        Where "partitioned" writes its copy of the points; in memory if None.
    n_workers
        Threads that make a partition; one per core if None.
    bounded
        Whether "partitioned" widens only as long as the time of a query does not grow with the number of points.
    """

    k: int
    seed: int
    device: str = "cpu"
    partition: Partition | None = None
    folder: Path | None = None
    n_workers: int | None = None
    bounded: bool = False


class Searcher(Protocol):
    """Finds the points nearest to queries."""

    name: str
    has_threads: bool
    """Whether one search uses all cores. If not, callers may run several at once."""

    @property
    def order(self) -> IntArray | None:
        """Order of the points in which searches are cheapest; None if any order is."""

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return ids (int64, -1 if missing) and squared distances, (n_queries, k), ascending."""

    def widen(self) -> bool:
        """Search more widely from now on, which is slower and finds more. False if that is impossible."""

    def effort(self) -> Mapping[str, float]:
        """Return how widely it searches, as named numbers for the report."""
