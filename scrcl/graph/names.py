"""The table of search backends.

To add a backend, write a file with its searcher class and add one entry to `BACKENDS`. This module imports no heavy
library, because the settings read it before any work starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

__all__ = [
    "APPROXIMATE",
    "BACKENDS",
    "BACKENDS_HELP",
    "EXACT_BELOW",
    "Backend",
    "recall_of_one_message",
]

EXACT_BELOW = 20_000
"""Number of points below which "auto" compares all pairs."""

_BYTES_PER_VALUE = 4
"""Points are float32."""


@dataclass(frozen=True)
class _Entry:
    """A line of the table.

    Attributes
    ----------
    description
        What it does, for the help text.
    searcher
        ``module:class`` below ``scrcl.graph``, imported when it is first used. The class has the methods of
        `scrcl.graph.searcher.Searcher` and a class method ``make(points, task)``.
    approximate
        It may miss neighbours, so its recall is measured.
    copies, extra_bytes
        Memory of its index: copies of the points, and bytes per point beyond them.
    """

    description: str
    searcher: str
    approximate: bool = True
    copies: int = 0
    extra_bytes: int = 0

    def bytes_per_point(self, n_dims: int) -> int:
        """Return the bytes that the index holds for each point."""
        return self.copies * _BYTES_PER_VALUE * n_dims + self.extra_bytes


BACKENDS = {
    "exact": _Entry("compares all pairs", "exact:ExactSearcher", approximate=False),
    "partitioned": _Entry("compares nearby cells", "partitioned:PartitionedSearcher"),
    "ivf": _Entry("FAISS, also on a GPU", "ivf:IvfSearcher", copies=1, extra_bytes=8),
    "hnsw": _Entry(
        "graph search of FAISS, varies between runs", "hnsw:HnswSearcher", copies=1, extra_bytes=160
    ),
    "pynndescent": _Entry(
        "nearest-neighbour descent, varies between runs", "descent:DescentSearcher", copies=10
    ),
}

APPROXIMATE = frozenset(name for name, entry in BACKENDS.items() if entry.approximate)

if TYPE_CHECKING:
    Backend: TypeAlias = str
else:
    # A type checker cannot read the names from a table, but pydantic can.
    Backend = Literal["auto", *BACKENDS]

BACKENDS_HELP = (
    f"Neighbour search. auto: exact below {EXACT_BELOW:,} cells, else partitioned, or ivf on a GPU. "
    + "; ".join(f"{name}: {entry.description}" for name, entry in BACKENDS.items())
    + "."
)


def recall_of_one_message(backend: str) -> str:
    """Return the message for a recall of 1 from an approximate search."""
    return (
        f"recall must be below 1 with the approximate search {backend}, because a subset cannot prove a recall of 1; "
        "got 1. Choose a share such as 0.99, or the search exact."
    )
