"""Balanced neighbours: equal numbers from every batch, so that the graph connects the batches.

If batches differ for technical reasons, all nearest neighbours of a cell are from its own batch. Here each batch gives
every cell its nearest cells, and each batch gives equally many. The cell's own batch is one of them.

References
----------
Polański et al., BBKNN: fast batch alignment of single cell transcriptomes, Bioinformatics 36 (2020): the
neighbourhoods. Its weights and trimming are for weighted graphs; this graph is binary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.knn import KnnResult
from scrcl.graph.ranked import sort_by_distance, without_self
from scrcl.graph.recall import reach_recall
from scrcl.graph.searcher import Searcher
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

__all__ = ["balanced_knn", "cross_share", "neighbors_per_batch", "require_few_batches"]

_MakeSearcher: TypeAlias = Callable[["FloatArray"], Searcher]

_MOST_BATCHES = 200
_BLOCK_ROWS = 16_384


def neighbors_per_batch(k: int, n_batches: int) -> int:
    """Return how many of ``k`` neighbours each batch gives: ``k / n_batches``, rounded half up, at least 1."""
    return max(1, (2 * k + n_batches) // (2 * n_batches))


def balanced_knn(
    points: FloatArray,
    codes: IntArray,
    k: int,
    *,
    seed: int,
    make_searcher: _MakeSearcher,
    make_exact: _MakeSearcher,
    recall: float = 0.95,
    block_rows: int = _BLOCK_ROWS,
    on_rows: OnRows | None = None,
) -> KnnResult:
    """Find the nearest other points of every point in each batch.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims). Batches are searched one after the other. The
        points of one are copied, ``4 * n_dims`` bytes each, and its searcher needs memory beyond that.
    codes
        ndarray of int, shape (n_points,): the batch of each point. Codes without a point are no batches.
    k
        Number of neighbours; each batch gives `neighbors_per_batch` of them.
    seed
        Root of the random stream of the recall sample.
    make_searcher, make_exact
        Make the searcher of a batch from its points, and the exact searcher to measure its recall with.
    recall
        Share of true neighbours in each batch to find on the sample; searches are widened until they do.
    block_rows
        Points searched at a time. It changes no result.
    on_rows
        Called with the number of searched points: every point once for each batch.

    Returns
    -------
    KnnResult
        ``n_batches * neighbors_per_batch(k, n_batches)`` columns, ordered by (distance, id). A batch with too few
        points gives all it has; -1 and infinity fill the end of the row. The recall is that of the worst batch.

    Raises
    ------
    InputError
        There are more than 200 batches or fewer than two points, or a value is not finite.
    """
    points = as_points(points)
    require_finite(points)
    batches = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    _check(len(points), k)
    require_few_batches(len(batches))
    share = neighbors_per_batch(k, len(batches))
    ids = np.full((len(points), share * len(batches)), -1, np.int32)
    squared = np.full(ids.shape, np.inf, np.float32)
    reached, backends = [], set()
    for number, rows in enumerate(batches):
        batch = _Batch.make(points, rows, make_searcher, make_exact)
        reached.append(
            reach_recall(
                batch.searcher,
                batch.exact,
                partial(batch.distances, points=points, k=share),
                len(points),
                target=recall,
                seed=seed,
                n_workers=cores(),
            )
        )
        backends.add(batch.searcher.name)
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
    return KnnResult(
        ids, squared, min(each.recall for each in reached), f"balanced {'+'.join(sorted(backends))}"
    )


def cross_share(graph: Graph, codes: IntArray) -> float:
    """Return the share of edges between nodes with different ``codes``; 0 without edges."""
    n_across = 0
    for start, stop, neighbours in graph.blocks():
        own = np.repeat(codes[start:stop], graph.degrees[start:stop])
        n_across += int(np.count_nonzero(codes[neighbours] != own))
    return n_across / max(len(graph.indices), 1)


def _check(n_points: int, k: int) -> None:
    """Raise InputError if there are too few points or neighbours."""
    require_neighbors(k)
    if n_points < 2:
        message = f"points must be two or more; got {n_points}. Give more points."
        raise InputError(message)


def require_few_batches(n_batches: int) -> None:
    """Raise InputError if there are too many batches to take a neighbour from each."""
    if n_batches > _MOST_BATCHES:
        message = (
            f"batch_key must name a column with at most {_MOST_BATCHES} batches for graph.balanced; got "
            f"{n_batches:,}. Each batch gives every cell a neighbour: name a coarser column, or leave out "
            "graph.balanced."
        )
        raise InputError(message)


class _Batch(NamedTuple):
    """The points of one batch, ready to be searched."""

    rows: IntArray
    searcher: Searcher
    exact: Searcher

    @classmethod
    def make(
        cls,
        points: FloatArray,
        rows: IntArray,
        make_searcher: _MakeSearcher,
        make_exact: _MakeSearcher,
    ) -> _Batch:
        own = points if len(rows) == len(points) else points[rows]
        return cls(rows, make_searcher(own), make_exact(own))

    def neighbours(
        self, searcher: Searcher, queries: FloatArray, numbers: IntArray, k: int
    ) -> tuple[IntArray, FloatArray]:
        """Return ``k`` points of the batch near each query, without the query itself.

        ``numbers`` are the positions of the queries among all points.
        """
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
        """Write the neighbours that this batch gives to points ``start`` to ``stop`` into its columns."""
        found = self.complete_neighbours(
            points[start:stop], np.arange(start, stop), columns.stop - columns.start
        )
        ids[start:stop, columns], squared[start:stop, columns] = found

    def complete_neighbours(
        self, queries: FloatArray, numbers: IntArray, k: int
    ) -> tuple[IntArray, FloatArray]:
        """Return neighbours; rows where the search found too few are searched again exactly."""
        ids, squared = self.neighbours(self.searcher, queries, numbers, k)
        incomplete = np.flatnonzero(ids[:, -1] < 0)
        if len(incomplete) and self.searcher.name != self.exact.name:
            ids[incomplete], squared[incomplete] = self.neighbours(
                self.exact, queries[incomplete], numbers[incomplete], k
            )
        return ids, squared
