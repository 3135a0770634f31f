"""Neighbours in equal numbers from every batch, so that a graph of many donors holds together.

Where cells of two batches lie apart for reasons that are none of biology, the nearest neighbours of
a cell are all of its own batch. Here each batch gives every cell its nearest ones, as many as any
other batch does, its own among them.

References
----------
Polański et al., BBKNN: fast batch alignment of single cell transcriptomes, Bioinformatics 36 (2020):
the neighbourhood. Weights and trimming there are of a weighted graph; this one is binary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.backends import Searcher
from scrcl.graph.knn import KnnResult
from scrcl.graph.ranked import sort_by_distance, without_self
from scrcl.graph.recall import reach_recall
from scrcl.io.arrays import (
    as_points,
    cores,
    for_each_block,
    require_finite,
    require_neighbors,
    row_blocks,
)

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import FloatArray, IntArray, OnRows

__all__ = [
    "SearcherOf",
    "balanced_knn",
    "cross_share",
    "neighbors_per_batch",
    "require_few_batches",
]

SearcherOf: TypeAlias = Callable[["FloatArray"], Searcher]
"""Makes a searcher over the points it is given."""

MOST_BATCHES = 200
BLOCK_ROWS = 16_384


def neighbors_per_batch(k: int, n_batches: int) -> int:
    """Return how many of ``k`` neighbours come from each batch: ``k / n_batches`` rounded, halves up, 1 at least."""
    return max(1, (2 * k + n_batches) // (2 * n_batches))


def balanced_knn(
    points: FloatArray,
    codes: IntArray,
    k: int,
    *,
    seed: int,
    searcher_of: SearcherOf,
    exact_of: SearcherOf,
    recall_target: float = 0.95,
    block_rows: int = BLOCK_ROWS,
    on_rows: OnRows | None = None,
) -> KnnResult:
    """Find the nearest other points of every point in each batch.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims). Batches are searched one after
        the other; the points of one are copied, ``4 * n_dims`` bytes each, and what its searcher
        holds comes on top.
    codes
        ndarray of int, shape (n_points,): the batch of each point. A number that no point has is no
        batch.
    k
        Number of neighbours, of which each batch gives `neighbors_per_batch`.
    seed
        Root of the random stream of the recall sample.
    searcher_of, exact_of
        Make the searcher of a batch, and the one that its recall is measured against.
    recall_target
        Share of true neighbours in each batch that is found on the sample; searchers look further
        until it is.
    block_rows
        Points searched at a time; changes no result.
    on_rows
        Called with the points searched: every point once for each batch.

    Returns
    -------
    KnnResult
        ``n_batches * neighbors_per_batch(k, n_batches)`` columns, by (distance, id); a batch that has
        too few points gives all it has, and -1 and infinity stand at the end. The recall is that of
        the worst batch.

    Raises
    ------
    InputError
        When there are more than 200 batches, fewer than two points, or points are not finite.
    """
    points = as_points(points)
    require_finite(points)
    batches = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    _check(len(points), k)
    require_few_batches(len(batches))
    share = neighbors_per_batch(k, len(batches))
    ids = np.full((len(points), share * len(batches)), -1, np.int32)
    squared = np.full(ids.shape, np.inf, np.float32)
    recalls, names = [], set()
    for number, rows in enumerate(batches):
        batch = _Batch.make(points, rows, searcher_of, exact_of)
        recalls.append(
            reach_recall(
                batch.searcher,
                batch.exact,
                partial(batch.distances, points=points, k=share),
                len(points),
                target=recall_target,
                seed=seed,
                n_workers=cores(),
            )
        )
        names.add(batch.searcher.name)
        for_each_block(
            partial(batch.fill, points, ids, squared, slice(number * share, (number + 1) * share)),
            row_blocks(len(points), block_rows),
            n_workers=1 if batch.searcher.has_threads else cores(),
            on_rows=on_rows,
        )
    for start, stop in row_blocks(len(points), block_rows):
        ids[start:stop], squared[start:stop] = sort_by_distance(
            ids[start:stop], squared[start:stop]
        )
    np.sqrt(squared, out=squared)
    return KnnResult(ids, squared, min(recalls), f"balanced {'+'.join(sorted(names))}")


def cross_share(graph: Graph, codes: IntArray) -> float:
    """Return the share of edges whose ends have different ``codes``; 0 where there is no edge."""
    n_across = 0
    for start, stop, neighbours in graph.blocks():
        own = np.repeat(codes[start:stop], graph.degrees[start:stop])
        n_across += int(np.count_nonzero(codes[neighbours] != own))
    return n_across / max(len(graph.indices), 1)


def _check(n_points: int, k: int) -> None:
    require_neighbors(k)
    if n_points < 2:
        msg = f"points must be two or more to have neighbours; got {n_points}. Give more points."
        raise InputError(msg)


def require_few_batches(n_batches: int) -> None:
    """Raise InputError where there are too many batches for a neighbour of each."""
    if n_batches > MOST_BATCHES:
        msg = (
            f"batch_key must tell at most {MOST_BATCHES} batches for balanced neighbours; got "
            f"{n_batches:,}, and each would give every cell a neighbour. Name a coarser column, or "
            "leave out graph.balanced."
        )
        raise InputError(msg)


class _Batch(NamedTuple):
    """The points of one batch, ready to be searched."""

    rows: IntArray
    searcher: Searcher
    exact: Searcher

    @classmethod
    def make(
        cls, points: FloatArray, rows: IntArray, searcher_of: SearcherOf, exact_of: SearcherOf
    ) -> _Batch:
        mine = points if len(rows) == len(points) else points[rows]
        return cls(rows, searcher_of(mine), exact_of(mine))

    def neighbours(
        self, searcher: Searcher, queries: FloatArray, numbers: IntArray, k: int
    ) -> tuple[IntArray, FloatArray]:
        """Return ``k`` points of the batch near each query, without the query (by its number) itself."""
        n_found = min(k + 1, len(self.rows))
        ids = np.full((len(queries), k + 1), -1, np.int64)
        squared = np.full(ids.shape, np.inf, np.float32)
        found, squared[:, :n_found] = searcher.search(queries, n_found)
        ids[:, :n_found] = np.where(found < 0, -1, self.rows[found])
        return without_self(ids, squared, numbers)

    def distances(
        self, searcher: Searcher, numbers: IntArray, *, points: FloatArray, k: int
    ) -> FloatArray:
        """Return squared distances of the neighbours of some points."""
        return self.neighbours(searcher, points[numbers], numbers, k)[1]

    def fill(
        self,
        points: FloatArray,
        ids: IntArray,
        squared: FloatArray,
        columns: slice,
        start: int,
        stop: int,
    ) -> None:
        """Write what this batch gives to points ``start`` to ``stop`` into its columns."""
        found = self.whole_neighbours(
            points[start:stop], np.arange(start, stop), columns.stop - columns.start
        )
        ids[start:stop, columns], squared[start:stop, columns] = found

    def whole_neighbours(
        self, queries: FloatArray, numbers: IntArray, k: int
    ) -> tuple[IntArray, FloatArray]:
        """Return neighbours, searched exactly where the searcher found fewer than there are."""
        ids, squared = self.neighbours(self.searcher, queries, numbers, k)
        lacking = np.flatnonzero(ids[:, -1] < 0)
        if len(lacking) and self.searcher.name != self.exact.name:
            ids[lacking], squared[lacking] = self.neighbours(
                self.exact, queries[lacking], numbers[lacking], k
            )
        return ids, squared
