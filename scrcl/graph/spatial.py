"""Nearest spots in a tissue, with ties settled by id.

Spots often lie on a grid, where a spot has several neighbours at the same distance. Which of them a
tree search returns is an accident of the tree, so more than ``k`` are asked for until the tie at
the end is whole, and those of the lowest ids are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.knn import KnnResult, require_enough_points
from scrcl.graph.rows import require_finite, row_blocks

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["spatial_knn"]

BLOCK_ROWS = 65_536
FIRST_EXTRA = 8
MOST_CANDIDATES = 256


def spatial_knn(coordinates: FloatArray, k: int) -> KnnResult:
    """Find the ``k`` nearest other spots of every spot, exactly.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_spots, 2) or (n_spots, 3).
    k
        Number of neighbours.

    Returns
    -------
    KnnResult
        Distances equal in float32 are ordered by id, and of a tie at the k-th place the lowest ids
        are taken. (Ties among more than 256 spots, such as piles of spots at one place, are settled
        by the tree: the same on each run, but not by id.)

    Raises
    ------
    InputError
        When coordinates are not finite, not in two or three dimensions, or too few for ``k``.
    """
    from scipy.spatial import cKDTree

    places = np.ascontiguousarray(coordinates, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] not in {2, 3}:
        msg = (
            f"coordinates must have two or three columns; got shape {places.shape}. "
            "Give x and y (and z) of each spot."
        )
        raise InputError(msg)
    require_enough_points(len(places), k)
    require_finite(places, "coordinates")
    tree = cKDTree(places)
    ids = np.empty((len(places), k), np.int32)
    distances = np.empty((len(places), k), np.float32)
    for start, stop in row_blocks(len(places), BLOCK_ROWS):
        rows = np.arange(start, stop)
        n_candidates = min(k + 1 + FIRST_EXTRA, len(places))
        while len(rows):
            found, near = _candidates(tree, places[rows], rows, n_candidates)
            last_try = n_candidates == len(places) or n_candidates >= max(MOST_CANDIDATES, 2 * k)
            whole = last_try | (near[:, -1] > near[:, k - 1])
            ids[rows[whole]] = found[whole, :k]
            distances[rows[whole]] = near[whole, :k]
            rows = rows[~whole]
            n_candidates = min(2 * n_candidates, len(places))
    return KnnResult(ids, distances, 1.0, "kdtree")


def _candidates(
    tree: Any, places: FloatArray, rows: IntArray, n_candidates: int
) -> tuple[IntArray, FloatArray]:
    """Return the nearest spots of ``rows`` by (distance, id), themselves last at infinity."""
    near, found = tree.query(places, k=n_candidates, workers=1)
    near = near.astype(np.float32)
    is_self = found == rows[:, None]
    # A spot may not find itself in a pile of others; then the furthest candidate is left out.
    is_self[~is_self.any(axis=1), -1] = True
    near[is_self] = np.inf
    order = np.lexsort((found, near), axis=-1)
    found, near = np.take_along_axis(found, order, 1), np.take_along_axis(near, order, 1)
    return found[:, :-1], near[:, :-1]
