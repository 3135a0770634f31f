"""From seed cells to the cells a batch needs: the seeds, then the neighbours they lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph
    from scrcl.typing import IntArray

__all__ = ["Halo", "sample_halo"]

KEY_BITS = 32


@dataclass(frozen=True, eq=False)
class Halo:
    """Seeds with their neighbours, in local numbers."""

    nodes: NDArray[np.int64]
    """shape (n_local,): cells of the batch; seeds as given, then the other neighbours, ascending"""
    n_seeds: int
    indptr: NDArray[np.int64]
    """shape (n_seeds + 1,)"""
    indices: NDArray[np.int64]
    """shape (indptr[-1],): places in ``nodes`` of each seed's neighbours (itself not among them)"""


def sample_halo(
    graph: Graph,
    seeds: IntArray,
    *,
    fanout: int | None,
    rng: np.random.Generator,
) -> Halo:
    """Collect the neighbours of ``seeds``.

    Parameters
    ----------
    graph
        The whole graph; only the seeds' rows are read.
    seeds
        ndarray of int, shape (n_seeds,), none twice.
    fanout
        Most neighbours kept of each seed, drawn uniformly without repeats; None keeps all.
    rng
        Source of the draws. It is left alone where no seed has more than ``fanout`` neighbours.

    Returns
    -------
    Halo
        Neighbours of a seed stay in ascending order of their global ids.

    Raises
    ------
    InputError
        When a seed is repeated or out of range, or ``fanout`` is below 1.
    """
    seeds = np.asarray(seeds, np.int64)
    order = np.argsort(seeds, kind="stable")
    ascending = seeds[order]
    _check(graph, ascending, fanout)
    starts = graph.indptr[seeds]
    counts = graph.indptr[seeds + 1] - starts
    edges = _ranges(starts, counts)
    if fanout is not None and (counts > fanout).any():
        kept = _draw(counts, fanout, rng)
        edges, counts = edges[kept], np.minimum(counts, fanout)
    neighbours, place = np.unique(graph.indices[edges], return_inverse=True)
    local, others = _local_ids(neighbours, ascending, order)
    indptr = np.zeros(len(seeds) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return Halo(np.concatenate([seeds, others]), len(seeds), indptr, local[place])


def _check(graph: Graph, ascending: IntArray, fanout: int | None) -> None:
    """Raise InputError where an argument of `sample_halo` breaks its rule."""
    if fanout is not None and fanout < 1:
        msg = f"fanout must be at least 1, or None for all neighbours; got {fanout}. Choose one."
        raise InputError(msg)
    if len(ascending) and not 0 <= ascending[0] <= ascending[-1] < graph.n:
        bad = ascending[0] if ascending[0] < 0 else ascending[-1]
        msg = f"seeds must be cells from 0 to {graph.n - 1}; got {bad}. Give ids of this graph."
        raise InputError(msg)
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(repeated):
        msg = f"seeds must not repeat; got {repeated[0]} twice. Give each cell once."
        raise InputError(msg)


def _ranges(starts: IntArray, counts: IntArray) -> NDArray[np.int64]:
    """Return ``starts[0], starts[0] + 1, ...`` for each range, one after the other."""
    before = np.cumsum(counts) - counts
    edges: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return edges


def _draw(counts: IntArray, fanout: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the edges kept, ascending: of each row the ``fanout`` smallest random keys."""
    rows = np.repeat(np.arange(len(counts)), counts)
    # Row and key in one integer: a stable sort of that takes a twentieth of a sort by two keys.
    keys = (rows << KEY_BITS) | rng.integers(0, 1 << KEY_BITS, len(rows))
    by_key = np.argsort(keys, kind="stable")
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept: NDArray[np.int64] = np.sort(by_key[rank < fanout])
    return kept


def _local_ids(
    neighbours: IntArray, ascending: IntArray, order: IntArray
) -> tuple[NDArray[np.int64], IntArray]:
    """Return local numbers of the distinct ``neighbours``, and those of them that are no seeds."""
    n_seeds = len(ascending)
    at = np.searchsorted(ascending, neighbours)
    at[at == n_seeds] = 0
    is_seed = ascending[at] == neighbours if n_seeds else np.zeros(len(neighbours), np.bool_)
    local = np.empty(len(neighbours), np.int64)
    local[is_seed] = order[at[is_seed]]
    others = neighbours[~is_seed]
    local[~is_seed] = n_seeds + np.arange(len(others))
    return local, others.astype(np.int64)
