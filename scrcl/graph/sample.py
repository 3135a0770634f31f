"""From seed cells to the cells a batch needs: the seeds, then the neighbours they lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.graph.relabel import relabel_compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph
    from scrcl.graph.relabel import Relabel
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
    relabel: Relabel = relabel_compiled,
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
    relabel
        What numbers the cells (`scrcl.graph.relabel`); the result does not depend on it.

    Returns
    -------
    Halo
        Neighbours of a seed stay in ascending order of their global ids.

    Raises
    ------
    InputError
        When a seed is repeated or out of range, or ``fanout`` is below 1.
    """
    cells: NDArray[np.int64] = np.ascontiguousarray(seeds, np.int64)
    _check(graph, cells, fanout)
    starts = graph.indptr[cells]
    counts = graph.indptr[cells + 1] - starts
    neighbours = np.empty(counts.sum(), np.int32)
    compiled(_gather)(np.asarray(graph.indices), starts, counts, neighbours)
    if fanout is not None and (counts > fanout).any():
        rows = np.repeat(np.arange(len(counts)), counts)
        # Row and key in one integer: sorting that is vectorised.
        keys = (rows << KEY_BITS) | rng.integers(0, 1 << KEY_BITS, len(rows))
        n_kept = compiled(_keep)(neighbours, keys, np.sort(keys), counts, fanout)
        neighbours, counts = neighbours[:n_kept], np.minimum(counts, fanout)
    nodes, places = relabel(cells, neighbours)
    indptr = np.zeros(len(cells) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return Halo(nodes, len(cells), indptr, places)


def _check(graph: Graph, seeds: IntArray, fanout: int | None) -> None:
    """Raise InputError where an argument of `sample_halo` breaks its rule."""
    if fanout is not None and fanout < 1:
        msg = f"fanout must be at least 1, or None for all neighbours; got {fanout}. Choose one."
        raise InputError(msg)
    if len(seeds) and not 0 <= seeds.min() <= seeds.max() < graph.n:
        bad = seeds.min() if seeds.min() < 0 else seeds.max()
        msg = f"seeds must be cells from 0 to {graph.n - 1}; got {bad}. Give ids of this graph."
        raise InputError(msg)


def _gather(
    indices: np.ndarray, starts: np.ndarray, counts: np.ndarray, neighbours: np.ndarray
) -> None:
    """Copy the rows that begin at ``starts``, one after the other."""
    to = 0
    for row in range(len(starts)):
        for at in range(starts[row], starts[row] + counts[row]):
            neighbours[to] = indices[at]
            to += 1


def _keep(
    neighbours: np.ndarray, keys: np.ndarray, ascending: np.ndarray, counts: np.ndarray, fanout: int
) -> int:
    """Move the neighbours kept to the front, in order; return their number.

    Of each row those of the ``fanout`` smallest keys; of equal keys, the first.
    """
    first, to = 0, 0
    for row in range(len(counts)):
        count = counts[row]
        largest = ascending[first + min(count, fanout) - 1]
        room = min(count, fanout)
        for at in range(first, first + room):
            room -= ascending[at] < largest
        for at in range(first, first + count):
            kept = keys[at] < largest
            if keys[at] == largest and room > 0:
                room -= 1
                kept = True
            if kept:
                neighbours[to] = neighbours[at]
                to += 1
        first += count
    return to
