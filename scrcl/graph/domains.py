"""Labels of cells in a tissue: their spatial coherence, and smoothing by the majority of nearby cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._compiled import compiled
from scrcl.graph.spatial import nearest_cells
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["coherence", "majority_labels"]

_BLOCK_ROWS = 65_536


class Coherence(NamedTuple):
    """How often neighbours have the same label."""

    share: float
    """Share of pairs (cell, neighbour) with equal labels; NaN if there is no pair"""
    by_chance: float
    """Expected share if the same labels were assigned to cells at random"""


def coherence(labels: IntArray, ids: IntArray) -> Coherence:
    """Return how often neighbours have the same label.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_cells,): 0, 1, ..., or -1 for none. A pair counts if both cells have a label.
    ids
        ndarray or memory map of int, shape (n_cells, k): neighbours of each cell, -1 for none; read in blocks.

    Notes
    -----
    The share by chance is that of two cells drawn without replacement: the sum over labels of n (n - 1) / N (N - 1).
    """
    n_equal = n_pairs = 0
    for start, stop in row_blocks(len(ids), _BLOCK_ROWS):
        neighbours, own = ids[start:stop], labels[start:stop, None]
        known = (neighbours >= 0) & (own >= 0)
        others = np.where(known, labels[neighbours], -1)
        known &= others >= 0
        n_equal += int(np.count_nonzero(known & (others == own)))
        n_pairs += int(np.count_nonzero(known))
        release(ids)
    sizes = np.bincount(labels[labels >= 0]).astype(np.float64)
    n_known = sizes.sum()
    by_chance = float((sizes * (sizes - 1)).sum() / max(n_known * (n_known - 1), 1.0))
    return Coherence(n_equal / n_pairs if n_pairs else float("nan"), by_chance)


def majority_labels(
    labels: IntArray, coordinates: FloatArray, n_nearest: int, *, samples: CellLabels | None = None
) -> NDArray[np.int32]:
    """Return, for every cell, the most frequent label among its nearest cells.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_cells,): 0, 1, ...
    coordinates
        ndarray of float, shape (n_cells, 2) or (n_cells, 3).
    n_nearest
        Number of other cells in the same sample that vote on a label; in a smaller sample, all others vote. The only
        cell of a sample keeps its label.
    samples
        The sample (file or slice) of each cell.

    Returns
    -------
    ndarray of int32, shape (n_cells,)
        If votes are equal, a cell keeps its own label if that is among the most frequent, else takes the lowest of
        them. Memory is about 150 bytes per cell, and a bounded part for the search.

    Raises
    ------
    InputError
        Coordinates are not finite, or do not have two or three dimensions.

    References
    ----------
    Hu et al., SpaGCN, Nature Methods 18 (2021): refinement of domains by the spots around each.
    """
    before = np.ascontiguousarray(labels, np.int32)
    after, votes = before.copy(), np.zeros(int(before.max(initial=0)) + 1, np.int64)
    for rows, ids, _ in nearest_cells(coordinates, n_nearest, samples=samples):
        compiled(_vote)(before, rows, np.ascontiguousarray(ids), votes, after)
    return after


def _vote(
    labels: np.ndarray, rows: np.ndarray, ids: np.ndarray, votes: np.ndarray, out: np.ndarray
) -> None:
    """Write the winning label of each of ``rows`` into ``out``; ``votes`` is room for one count per label."""
    # Votes are for the labels before smoothing: ``out`` is another array, so the order of cells does not matter.
    for at in range(len(rows)):
        votes[:] = 0
        for cell in ids[at]:
            votes[labels[cell]] += 1
        # The own label leads at first, and only more votes replace the leader. So it wins ties, and among other
        # labels the lowest does.
        best = labels[rows[at]]
        for label in range(len(votes)):
            if votes[label] > votes[best]:
                best = label
        out[rows[at]] = best
