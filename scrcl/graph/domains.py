"""Labels in a tissue: how much neighbours share them, and labels by the majority around each spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._compiled import compiled
from scrcl.graph.spatial import nearest_spots
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Coherence", "coherence", "majority_labels"]

BLOCK_ROWS = 65_536


class Coherence(NamedTuple):
    """How much neighbours are alike."""

    share: float
    """Share of pairs (spot, neighbour) of one label; NaN where there is no pair."""
    by_chance: float
    """The same, expected of labels in these numbers that are dealt out at random."""


def coherence(labels: IntArray, ids: IntArray) -> Coherence:
    """Return how much neighbours share their labels.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_spots,): 0, 1, ..., or -1 for none. A pair counts where both have one.
    ids
        ndarray or memory map of int, shape (n_spots, k): neighbours of each spot, -1 for none; read in
        blocks.

    Notes
    -----
    By chance, two spots drawn without putting back: the sum over labels of n (n - 1) / N (N - 1).
    """
    same = n_pairs = 0
    for start, stop in row_blocks(len(ids), BLOCK_ROWS):
        near, own = ids[start:stop], labels[start:stop, None]
        known = (near >= 0) & (own >= 0)
        theirs = np.where(known, labels[near], -1)
        known &= theirs >= 0
        same += int(np.count_nonzero(known & (theirs == own)))
        n_pairs += int(np.count_nonzero(known))
        release(ids)
    sizes = np.bincount(labels[labels >= 0]).astype(np.float64)
    n_known = sizes.sum()
    alike = float((sizes * (sizes - 1)).sum() / max(n_known * (n_known - 1), 1.0))
    return Coherence(same / n_pairs if n_pairs else float("nan"), alike)


def majority_labels(
    labels: IntArray, coordinates: FloatArray, n_nearest: int, *, samples: CellLabels | None = None
) -> NDArray[np.int32]:
    """Return for every spot the label that most of its nearest spots have.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_spots,): 0, 1, ...
    coordinates
        ndarray of float, shape (n_spots, 2) or (n_spots, 3).
    n_nearest
        Spots that vote on a spot, itself not among them: of its sample, and all others where that has no
        more. One that is alone keeps its label.
    samples
        The sample (slice) of each spot.

    Returns
    -------
    ndarray of int32, shape (n_spots,)
        Of labels with equal votes a spot keeps its own, or else takes the lowest. Beside some 150 bytes a
        spot, what is at work is bounded.

    Raises
    ------
    InputError
        When coordinates are not finite, or not in two or three dimensions.

    References
    ----------
    Hu et al., SpaGCN, Nature Methods 18 (2021): refinement of domains by the spots around each.
    """
    before = np.ascontiguousarray(labels, np.int32)
    after, votes = before.copy(), np.zeros(int(before.max(initial=0)) + 1, np.int64)
    for rows, ids, _ in nearest_spots(coordinates, n_nearest, samples=samples):
        compiled(_vote)(before, rows, np.ascontiguousarray(ids), votes, after)
    return after


def _vote(
    labels: np.ndarray, rows: np.ndarray, ids: np.ndarray, votes: np.ndarray, out: np.ndarray
) -> None:
    for at in range(len(rows)):
        votes[:] = 0
        for spot in ids[at]:
            votes[labels[spot]] += 1
        best = labels[rows[at]]
        for label in range(len(votes)):
            if votes[label] > votes[best]:
                best = label
        out[rows[at]] = best
