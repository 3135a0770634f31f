"""Nearest cells in a tissue, sample by sample, with ties ordered by id.

Cells (or spots) are often on a grid, where a cell has several neighbours at the same distance. Which of them a tree
search returns depends on the tree. So it is asked for more than ``k`` cells, until it has all cells of the last tie,
and those with the lowest ids are kept. Many cells may also have the same coordinates. Only the ``k + 1`` with the
lowest ids can be neighbours of any cell, so only these go into the tree.

On a grid, choose ``k`` by its geometry: 6 on a hexagonal grid, 4 or 8 on a square one. Then an inner cell gets exactly
its ring. A cell at the border has fewer neighbours in its ring and takes others from the next ring, unless ``radius``
(between the distances of the two rings) prevents it. If ``k`` ends inside a ring, a cell takes those of the ring with
the lower ids. The symmetric graph also has the others, because the cells on the opposite side take this one; only near
the border some are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.knn import KnnResult, require_enough_points
from scrcl.io.arrays import require_finite, row_blocks
from scrcl.io.labels import rows_by_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["nearest_cells", "require_shared_samples", "spatial_knn"]

_FIRST_EXTRA = 8
_CANDIDATES = 1 << 20
"""Candidates held at once, about 60 bytes each."""
_LEAST_EXTENT, _MOST_EXTENT = 1e-30, 1e30
"""Outside this range, distances do not fit float32."""
_BOUND_SLACK = 1 + 1e-6
"""The tree compares float64 distances; the exact comparison with ``radius`` follows in float32."""


def spatial_knn(
    coordinates: FloatArray,
    k: int,
    *,
    samples: CellLabels | None = None,
    radius: float | None = None,
) -> KnnResult:
    """Find the ``k`` nearest other cells of every cell, exactly.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_cells, 2) or (n_cells, 3).
    k
        Most neighbours of a cell.
    samples
        The sample (file or slice) of each cell. Neighbours are from the same sample, so coordinates of samples may
        overlap. In a sample of ``k`` cells or fewer, each cell has all others as neighbours.
    radius
        Largest distance of a neighbour, in units of the coordinates. It is compared in float32, so that rounding
        excludes no neighbour on a grid.

    Returns
    -------
    KnnResult
        Distances that are equal in float32 are ordered by id, and of a tie at the k-th neighbour the lowest ids are
        taken. If a cell has fewer than ``k`` neighbours, -1 and infinity fill the end of its row.

    Raises
    ------
    InputError
        Coordinates are not finite, do not have two or three dimensions, or are too few for ``k``; or no cell has a
        neighbour in its sample or within ``radius``.
    """
    coordinates = _checked(coordinates)
    n_cells = len(coordinates)
    require_enough_points(n_cells if samples is None else max(n_cells, k + 1), k)
    if samples is not None:
        require_shared_samples(samples)
    ids = np.full((n_cells, k), -1, np.int32)
    distances = np.full((n_cells, k), np.inf, np.float32)
    for rows, found, near in nearest_cells(coordinates, k, samples=samples, radius=radius):
        ids[rows, : found.shape[1]] = found
        distances[rows, : found.shape[1]] = near
    if radius is not None and (ids[:, 0] < 0).all():
        _refuse_radius(radius, spatial_knn(coordinates, 1, samples=samples).distances)
    return KnnResult(ids, distances, 1.0, "kdtree")


def nearest_cells(
    coordinates: FloatArray,
    k: int,
    *,
    samples: CellLabels | None = None,
    radius: float | None = None,
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Yield the neighbours of `spatial_knn` for some cells at a time, so that not all are in memory.

    Parameters
    ----------
    coordinates, k, samples, radius
        See `spatial_knn`. If there are ``k`` cells or fewer, each has all others as neighbours.

    Yields
    ------
    rows
        ndarray of int, shape (n,): the cells. Each comes once, in the order of the search. The only cell of a sample
        never comes.
    ids
        ndarray of int, shape (n, k): their neighbours; fewer columns in a sample of ``k`` cells or fewer.
    distances
        ndarray of float32, of the shape of ``ids``.

    Raises
    ------
    InputError
        Coordinates are not finite, or do not have two or three dimensions.
    """
    coordinates = _checked(coordinates)
    n_cells = len(coordinates)
    for rows in rows_by_label(n_cells, samples):
        if len(rows) < 2:
            continue
        own = coordinates if len(rows) == n_cells else coordinates[rows]
        for cells, found, near in _SampleSearch(own, min(k, len(rows) - 1), radius).search():
            yield rows[cells], np.where(found < 0, -1, rows[found]), near


def _checked(coordinates: FloatArray) -> FloatArray:
    """Return coordinates as float64, or raise InputError."""
    coordinates = np.ascontiguousarray(coordinates, dtype=np.float64)
    if coordinates.ndim != 2 or coordinates.shape[1] not in {2, 3}:
        message = (
            f"coordinates must have two or three columns; got shape {coordinates.shape}. "
            "Give x and y (and z) of each cell."
        )
        raise InputError(message)
    require_finite(coordinates, "coordinates")
    with np.errstate(over="ignore"):
        extent = float(np.ptp(coordinates, axis=0).max(initial=0))
    if extent and not _LEAST_EXTENT <= extent <= _MOST_EXTENT:
        message = (
            f"coordinates must span {_LEAST_EXTENT:g} to {_MOST_EXTENT:g}; got {extent:g}. "
            "Give them in another unit."
        )
        raise InputError(message)
    return coordinates


def require_shared_samples(samples: CellLabels) -> None:
    """Raise InputError if every cell is the only one of its sample."""
    counts = np.bincount(samples.codes, minlength=len(samples.names))
    most = int(counts.max(initial=0))
    if most < 2:
        message = (
            "sample_key must name a column in which some cells share a sample; got "
            f"{np.count_nonzero(counts):,} samples of one cell each, the first is "
            f"{samples.names[int(np.argmax(counts))]}. Name the column of the slices."
        )
        raise InputError(message)


def _refuse_radius(radius: float, nearest: FloatArray) -> None:
    median = float(np.median(nearest[np.isfinite(nearest)]))
    message = (
        f"graph.radius must reach a neighbour of at least one cell; got {radius:g}. The median distance of the "
        f"nearest cell is {median:g}: choose a larger radius, such as {1.5 * median:.3g}."
    )
    raise InputError(message)


class _SampleSearch:
    """Search among the cells of one sample; takes about 100 bytes per cell.

    Cells with equal coordinates are a stack. All but the ``k + 1`` lowest ids of a stack are hidden from the tree: no
    cell needs them as neighbours, and a tree cannot split them.
    """

    def __init__(self, coordinates: FloatArray, k: int, radius: float | None) -> None:
        from scipy.spatial import cKDTree

        self._coordinates, self._k = coordinates, k
        self._limit = np.float32(np.inf if radius is None else radius)
        self._bound = np.inf if radius is None else radius * _BOUND_SLACK
        self._order, self._stack = _stacks(coordinates)
        height = np.arange(len(coordinates)) - self._stack
        self._hidden = self._order[height > k]
        self._stack_of_hidden = self._stack[height > k]
        self._shown = np.sort(self._order[height <= k])
        self._tree = cKDTree(coordinates[self._shown])

    def search(self) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Yield cells, and the ids and distances of their neighbours."""
        k = self._k
        # A hidden cell has more than k cells of lower ids at distance 0: its neighbours need no search.
        for start, stop in row_blocks(len(self._hidden), _CANDIDATES // k + 1):
            lowest = self._order[self._stack_of_hidden[start:stop, None] + np.arange(k)]
            yield self._hidden[start:stop], lowest, np.zeros(lowest.shape, np.float32)
        # In the order of the tree, a query finds in the cache what the one before it read.
        waiting, n_candidates = self._shown[self._tree.indices], k + 1 + _FIRST_EXTRA
        while len(waiting):
            n_candidates = min(n_candidates, len(self._shown))
            unfinished = []
            for start, stop in row_blocks(len(waiting), _CANDIDATES // n_candidates + 1):
                cells = waiting[start:stop]
                found, near = self._candidates(cells, n_candidates)
                # The last tie is whole if a farther candidate follows it, or if nothing is left to find.
                finished = (near[:, -1] > near[:, k - 1]) | np.isinf(near[:, -1])
                finished |= n_candidates == len(self._shown)
                yield cells[finished], found[finished, :k], near[finished, :k]
                unfinished.append(cells[~finished])
            # Few cells are left after each round, so doubling costs little more than the last round.
            waiting, n_candidates = np.concatenate(unfinished), 2 * n_candidates

    def _candidates(self, cells: IntArray, n_candidates: int) -> tuple[IntArray, FloatArray]:
        """Return the nearest cells by (distance, id), without the cells themselves."""
        near, positions = self._tree.query(
            self._coordinates[cells], k=n_candidates, distance_upper_bound=self._bound, workers=-1
        )
        near = near.astype(np.float32)
        missing = (positions == len(self._shown)) | (near > self._limit)
        found = self._shown[np.where(missing, 0, positions)]
        near[missing], found[missing] = np.inf, -1
        # Among many cells at distance 0, a cell may not find itself; then the farthest is dropped.
        is_self = found == cells[:, None]
        is_self[~is_self.any(axis=1), -1] = True
        near[is_self], found[is_self] = np.inf, -1
        order = np.lexsort((found, near), axis=-1)[:, :-1]
        return np.take_along_axis(found, order, 1), np.take_along_axis(near, order, 1)


def _stacks(coordinates: FloatArray) -> tuple[IntArray, IntArray]:
    """Return cells ordered by coordinates, then id; and for each in that order, where its stack begins."""
    order = np.lexsort(coordinates.T)
    in_order = coordinates[order]
    begins = np.ones(len(coordinates), np.bool_)
    begins[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    return order, np.flatnonzero(begins)[np.cumsum(begins) - 1]
