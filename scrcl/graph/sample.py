"""From seed cells to all cells that a mini-batch needs: the seeds and their neighbours, called the halo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.graph.relabel import relabel_compiled
from scrcl.io.arrays import row_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph
    from scrcl.graph.relabel import Relabel
    from scrcl.typing import IntArray

__all__ = ["Halo", "sample_halo"]

_KEY_BITS = 32


@dataclass(frozen=True, eq=False)
class Halo:
    """Seeds and their neighbours, numbered within the mini-batch."""

    nodes: NDArray[np.int64]
    """shape (n_local,): cells of the mini-batch: the seeds in their order, then other neighbours, ascending"""
    n_seeds: int
    """Number of seeds"""
    indptr: NDArray[np.int64]
    """shape (n_seeds + 1,)"""
    indices: NDArray[np.int64]
    """shape (indptr[-1],): positions in ``nodes`` of each seed's neighbours, without the seed itself"""


def sample_halo(
    graph: Graph,
    seeds: IntArray,
    *,
    fanout: int | None,
    rng: np.random.Generator,
    relabel: Relabel = relabel_compiled,
) -> Halo:
    """Return the seeds with their neighbours.

    Parameters
    ----------
    graph
        The whole graph; only the rows of the seeds are read.
    seeds
        ndarray of int, shape (n_seeds,), without repeats.
    fanout
        Most neighbours of a seed, drawn uniformly without replacement; None keeps all.
    rng
        Source of the draws. Nothing is drawn if no seed has more than ``fanout`` neighbours.
    relabel
        Numbers the cells (`scrcl.graph.relabel`). It does not change the result.

    Returns
    -------
    Halo
        Neighbours of a seed are in ascending order of their ids in the graph.

    Raises
    ------
    InputError
        A seed is repeated or out of range, or ``fanout`` is below 1.

    References
    ----------
    Hamilton, Ying, Leskovec: Inductive representation learning on large graphs. NeurIPS 2017: sampled neighbourhoods.
    """
    cells: NDArray[np.int64] = np.ascontiguousarray(seeds, np.int64)
    _check(graph, cells, fanout)
    starts = graph.indptr[cells]
    counts = graph.indptr[cells + 1] - starts
    neighbours = np.empty(counts.sum(), np.int32)
    compiled(_gather)(np.asarray(graph.indices), starts, counts, neighbours)
    if fanout is not None and (counts > fanout).any():
        rows = np.repeat(np.arange(len(counts)), counts)
        # One sort for all seeds: row and random key in one integer. NumPy sorts integers with vector instructions.
        keys = (rows << _KEY_BITS) | rng.integers(0, 1 << _KEY_BITS, len(rows))
        n_kept = compiled(_keep)(neighbours, keys, np.sort(keys), counts, fanout)
        neighbours, counts = neighbours[:n_kept], np.minimum(counts, fanout)
    nodes, positions = relabel(cells, neighbours)
    return Halo(nodes, len(cells), row_starts(counts), positions)


def _check(graph: Graph, seeds: IntArray, fanout: int | None) -> None:
    """Raise InputError if an argument of `sample_halo` breaks its rule."""
    if fanout is not None and fanout < 1:
        message = (
            f"fanout must be at least 1, or None for all neighbours; got {fanout}. Choose one."
        )
        raise InputError(message)
    if len(seeds) and not 0 <= seeds.min() <= seeds.max() < graph.n:
        bad = seeds.min() if seeds.min() < 0 else seeds.max()
        message = f"seeds must be cells from 0 to {graph.n - 1}; got {bad}. Give ids of this graph."
        raise InputError(message)


def _gather(
    indices: np.ndarray, starts: np.ndarray, counts: np.ndarray, neighbours: np.ndarray
) -> None:
    """Copy rows, given by their starts and lengths, one after the other."""
    # A loop, and not fancy indexing: that would need an index array of 8 bytes per neighbour first.
    filled = 0
    for row in range(len(starts)):
        for edge in range(starts[row], starts[row] + counts[row]):
            neighbours[filled] = indices[edge]
            filled += 1


def _keep(
    neighbours: np.ndarray, keys: np.ndarray, ascending: np.ndarray, counts: np.ndarray, fanout: int
) -> int:
    """Move the kept neighbours to the front, in order; return their number.

    Of each row, those with the ``fanout`` smallest keys are kept; of equal keys, the first. ``ascending`` is ``keys``
    sorted: the row is the upper half of a key, so both arrays hold a row at the same positions.
    """
    first, filled = 0, 0
    for row in range(len(counts)):
        count = counts[row]
        # Keys up to this bound are kept. That is one look-up, where an argsort would cost a second array.
        largest = ascending[first + min(count, fanout) - 1]
        room = min(count, fanout)
        # What is left of ``room`` is how many keys equal to the bound may be kept.
        for at in range(first, first + room):
            room -= ascending[at] < largest
        # In place: ``filled`` never passes ``at``, so no neighbour is overwritten before it was read.
        for at in range(first, first + count):
            kept = keys[at] < largest
            if keys[at] == largest and room > 0:
                room -= 1
                kept = True
            if kept:
                neighbours[filled] = neighbours[at]
                filled += 1
        first += count
    return filled
