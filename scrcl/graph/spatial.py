"""Nearest spots in a tissue, slice by slice, with ties settled by id.

Spots often lie on a grid, where a spot has several neighbours at the same distance. Which of them a
tree search returns is an accident of the tree, so more than ``k`` are asked for until the tie at
the end is whole, and those of the lowest ids are kept. Where many spots lie at one place, no spot
can have others of them as neighbours than the ``k + 1`` lowest ids: only these go into the tree.

On a grid, take ``k`` from its geometry: 6 on a hexagonal one, 4 or 8 on a square one. Then an inner spot
has its ring, and no more. A spot at the border has fewer neighbours in its ring and takes the rest from
the next one, unless ``radius`` (between the distances of the two rings) says otherwise. A ``k`` that
cuts a ring takes the half of lower ids from it; the symmetric graph has the other half as well, but
for the border, as each inner spot is taken by those opposite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.knn import KnnResult, require_enough_points
from scrcl.io.arrays import require_finite, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["nearest_spots", "require_shared", "spatial_knn"]

FIRST_EXTRA = 8
CANDIDATES = 1 << 20
"""Candidates at work at once, about 60 bytes each."""
LEAST_EXTENT, MOST_EXTENT = 1e-30, 1e30
"""Beyond these, distances leave the range of float32."""
BOUND_SLACK = 1 + 1e-6


def spatial_knn(
    coordinates: FloatArray,
    k: int,
    *,
    samples: CellLabels | None = None,
    radius: float | None = None,
) -> KnnResult:
    """Find the ``k`` nearest other spots of every spot, exactly.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_spots, 2) or (n_spots, 3).
    k
        Number of neighbours, at most.
    samples
        The sample (slice) of each spot. Neighbours are of the same sample, so coordinates of
        different samples may overlap. A spot of a sample of ``k`` spots or fewer has all others as
        neighbours; one that is alone in its sample has none.
    radius
        Largest distance of a neighbour, in the units of the coordinates; compared in float32, so
        that rounding takes no neighbour off a grid.

    Returns
    -------
    KnnResult
        Distances equal in float32 are ordered by id, and of a tie at the k-th place the lowest ids
        are taken. Where a spot has fewer than ``k`` neighbours, -1 and infinity stand at the end.

    Raises
    ------
    InputError
        When coordinates are not finite, not in two or three dimensions, or too few for ``k``; when
        no spot has a neighbour in its sample or within ``radius``.
    """
    places = _as_places(coordinates)
    n_spots = len(places)
    require_enough_points(n_spots if samples is None else max(n_spots, k + 1), k)
    if samples is not None:
        require_shared(samples)
    ids = np.full((n_spots, k), -1, np.int32)
    distances = np.full((n_spots, k), np.inf, np.float32)
    for rows, found, near in nearest_spots(places, k, samples=samples, radius=radius):
        ids[rows, : found.shape[1]] = found
        distances[rows, : found.shape[1]] = near
    if radius is not None and (ids[:, 0] < 0).all():
        _refuse_radius(radius, spatial_knn(places, 1, samples=samples).distances)
    return KnnResult(ids, distances, 1.0, "kdtree")


def nearest_spots(
    coordinates: FloatArray,
    k: int,
    *,
    samples: CellLabels | None = None,
    radius: float | None = None,
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Yield what `spatial_knn` finds, some spots at a time, so that no list of all neighbours is held.

    Parameters
    ----------
    coordinates, k, samples, radius
        As of `spatial_knn`. Where there are ``k`` spots or fewer, each has all others.

    Yields
    ------
    rows
        ndarray of int, shape (n,): the spots. Each comes once, in an order of the search; one that is
        alone in its sample never comes.
    ids
        ndarray of int, shape (n, k): their neighbours; fewer columns in a sample of ``k`` spots or fewer.
    distances
        ndarray of float32, of that shape.

    Raises
    ------
    InputError
        When coordinates are not finite, or not in two or three dimensions.
    """
    places = _as_places(coordinates)
    n_spots = len(places)
    groups = [np.arange(n_spots)] if samples is None else _rows_by_sample(samples)
    for rows in groups:
        if len(rows) < 2:
            continue
        here = places if len(rows) == n_spots else places[rows]
        for spots, found, near in _Slice(here, min(k, len(rows) - 1), radius).search():
            yield rows[spots], np.where(found < 0, -1, rows[found]), near


def _as_places(coordinates: FloatArray) -> FloatArray:
    places = np.ascontiguousarray(coordinates, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] not in {2, 3}:
        msg = (
            f"coordinates must have two or three columns; got shape {places.shape}. "
            "Give x and y (and z) of each spot."
        )
        raise InputError(msg)
    require_finite(places, "coordinates")
    with np.errstate(over="ignore"):
        extent = float(np.ptp(places, axis=0).max(initial=0))
    if extent and not LEAST_EXTENT <= extent <= MOST_EXTENT:
        msg = (
            f"coordinates must span {LEAST_EXTENT:g} to {MOST_EXTENT:g}; got {extent:g}. "
            "Give them in another unit."
        )
        raise InputError(msg)
    return places


def require_shared(samples: CellLabels) -> None:
    """Raise InputError where each spot is alone in its sample."""
    counts = np.bincount(samples.codes, minlength=len(samples.names))
    most = int(counts.max(initial=0))
    if most < 2:
        msg = (
            "sample_key must put two spots or more into some sample; got "
            f"{np.count_nonzero(counts):,} samples of one spot, the first is "
            f"{samples.names[int(np.argmax(counts))]}. Name the column that tells the slices."
        )
        raise InputError(msg)


def _rows_by_sample(samples: CellLabels) -> list[IntArray]:
    """Return the rows of each sample of two spots or more, ascending."""
    order = np.argsort(samples.codes, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(samples.codes))[:-1])
    return [rows for rows in groups if len(rows) > 1]


def _refuse_radius(radius: float, nearest: FloatArray) -> None:
    median = float(np.median(nearest[np.isfinite(nearest)]))
    msg = (
        f"graph.radius must reach a neighbour of some spot; got {radius:g}, and no spot has one so near: "
        f"the nearest is {median:g} away in the median. Give a radius above that, as {1.5 * median:.3g}."
    )
    raise InputError(msg)


class _Slice:
    """Search among the spots of one sample; takes about 100 bytes a spot."""

    def __init__(self, places: FloatArray, k: int, radius: float | None) -> None:
        from scipy.spatial import cKDTree

        self._places, self._k = places, k
        self._limit = np.float32(np.inf if radius is None else radius)
        self._bound = np.inf if radius is None else radius * BOUND_SLACK
        self._order, self._pile = _piles(places)
        behind = np.arange(len(places)) - self._pile
        self._deep = self._order[behind > k]
        self._pile_of_deep = self._pile[behind > k]
        self._shown = np.sort(self._order[behind <= k])
        self._tree = cKDTree(places[self._shown])

    def search(self) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Yield spots, and the ids and distances of their neighbours."""
        k = self._k
        for start, stop in row_blocks(len(self._deep), CANDIDATES // k + 1):
            lowest = self._order[self._pile_of_deep[start:stop, None] + np.arange(k)]
            yield self._deep[start:stop], lowest, np.zeros(lowest.shape, np.float32)
        # In the tree's own order a query finds what the one before it left in the cache.
        waiting, n_candidates = self._shown[self._tree.indices], k + 1 + FIRST_EXTRA
        while len(waiting):
            n_candidates = min(n_candidates, len(self._shown))
            torn = []
            for start, stop in row_blocks(len(waiting), CANDIDATES // n_candidates + 1):
                spots = waiting[start:stop]
                found, near = self._candidates(spots, n_candidates)
                whole = (near[:, -1] > near[:, k - 1]) | np.isinf(near[:, -1])
                whole |= n_candidates == len(self._shown)
                yield spots[whole], found[whole, :k], near[whole, :k]
                torn.append(spots[~whole])
            waiting, n_candidates = np.concatenate(torn), 2 * n_candidates

    def _candidates(self, spots: IntArray, n_candidates: int) -> tuple[IntArray, FloatArray]:
        """Return the nearest of the spots by (distance, id), without themselves."""
        near, at = self._tree.query(
            self._places[spots], k=n_candidates, distance_upper_bound=self._bound, workers=-1
        )
        near = near.astype(np.float32)
        missing = (at == len(self._shown)) | (near > self._limit)
        found = self._shown[np.where(missing, 0, at)]
        near[missing], found[missing] = np.inf, -1
        # A spot may not find itself among others at no distance; then the furthest is left out.
        is_self = found == spots[:, None]
        is_self[~is_self.any(axis=1), -1] = True
        near[is_self], found[is_self] = np.inf, -1
        order = np.lexsort((found, near), axis=-1)[:, :-1]
        return np.take_along_axis(found, order, 1), np.take_along_axis(near, order, 1)


def _piles(places: FloatArray) -> tuple[IntArray, IntArray]:
    """Order spots by place, then id; and say for each in that order where its place begins."""
    order = np.lexsort(places.T)
    sorted_places = places[order]
    begins = np.ones(len(places), np.bool_)
    begins[1:] = (sorted_places[1:] != sorted_places[:-1]).any(axis=1)
    return order, np.flatnonzero(begins)[np.cumsum(begins) - 1]
