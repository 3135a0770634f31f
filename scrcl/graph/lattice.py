"""What kind of coordinates a tissue has: spots of a grid, or points anywhere.

Spots of an array lie on a hexagonal grid (Visium) or a square one (bins of Visium HD or Stereo-seq). Then a cell has
rings of neighbours at known distances, with holes where no tissue is. Cells of imaging lie anywhere. The kind follows
from the distances of nearest cells, in units of the smallest: on a grid they take few values.

Visium also numbers its spots by row and column, and every second column of a row is empty. Read as distances, two of
the six neighbours then seem farther than the other four, so rows are stretched. Where these numbers are known besides
the coordinates, they tell the kind (`scrcl.graph.numbered_spots`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from scrcl.graph.numbered_spots import HALF_COLUMNS, are_staggered, grid_of_numbers
from scrcl.io.labels import rows_by_label

if TYPE_CHECKING:
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray

__all__ = ["NEIGHBORS_OF", "Kind", "Layout", "find_layout", "to_scale"]

Kind = Literal["hexagonal", "square", "irregular"]

NEIGHBORS_OF: dict[Kind, int] = {"hexagonal": 18, "square": 24, "irregular": 18}
"""Neighbours of a cell in the tissue: two whole rings of a hexagonal grid (6 and 12) or of a square one (8 and 16). For
points anywhere as many as on a hexagonal grid, which points spread evenly resemble most."""

_DISTANCES: dict[Kind, tuple[float, ...]] = {
    "hexagonal": (1.0, 3**0.5, 2.0, 7**0.5, 3.0),
    "square": (1.0, 2**0.5, 2.0, 5**0.5, 8**0.5, 3.0),
}
"""Distances between points of a grid with pitch 1, as far as the nearest six can be near a border or a hole."""

_RING = 0.2
"""Distances that differ by less than this share are of one ring."""

_REACH = 3.1
"""Distances up to this many pitches are compared."""

_TOLERANCE, _MOST_TOLERANCE = 0.04, 0.1
"""How far a distance may be off, in pitches: as stored by the program, and where coordinates are rounded coarsely."""

_OF_ROUNDING = 1.25
"""Three standard deviations of a distance between two rounded points, in units of the last digit."""

_N_NEAREST = 6
_LEAST_SHARE = 0.85
"""Share of the distances to nearest cells that are those of a grid. At random positions at most a third are."""

_MOST_QUERIES = 2_000


class Layout(NamedTuple):
    """The kind of the coordinates of a tissue."""

    kind: Kind
    """``irregular`` if the samples are not all on a grid of one kind"""
    pitch: float | None
    """distance of the nearest spots on the grid, the median of the samples; None: irregular"""
    is_numbered: bool
    """whether coordinates are numbers of rows and columns of a hexagonal grid, which `to_scale` stretches"""

    @property
    def n_neighbors(self) -> int:
        """Neighbours of a cell in the tissue that suit this kind."""
        return NEIGHBORS_OF[self.kind]

    def in_words(self) -> str:
        """Return the kind as a report shows it."""
        if self.pitch is None:
            return "irregular points"
        numbered = ", from numbers of rows and columns" if self.is_numbered else ""
        return f"spots on a {self.kind} grid (pitch {self.pitch:.4g}){numbered}"


def to_scale(coordinates: FloatArray, samples: CellLabels | None = None) -> FloatArray:
    """Return coordinates in which all neighbours on a grid are equally far.

    Numbers of rows and columns become positions: rows are stretched by the root of 3, so that the nearest spots lie 2
    apart. Rows are the shorter axis of the sample, as on a slide of Visium. Other coordinates are returned unchanged.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_cells, 2) or (n_cells, 3), finite.
    samples
        The sample (file or slice) of each cell; each is looked at by itself.
    """
    if coordinates.ndim != 2 or coordinates.shape[1] != 2:
        return coordinates
    scaled = coordinates
    for rows in rows_by_label(len(coordinates), samples):
        own = coordinates[rows]
        if _is_numbered(own):
            if scaled is coordinates:
                scaled = coordinates.astype(np.float64)
            shorter = int(np.argmin(np.ptp(own, axis=0)))
            scaled[rows, shorter] = own[:, shorter] * HALF_COLUMNS
    return scaled


def find_layout(
    coordinates: FloatArray,
    samples: CellLabels | None = None,
    numbers: FloatArray | None = None,
) -> Layout:
    """Return the kind of the coordinates.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_cells, 2) or (n_cells, 3), finite, as in the input. Three dimensions are irregular.
    samples
        The sample of each cell. Samples may differ in pitch. Those of fewer than eight cells do not count.
    numbers
        Row and column of each cell in an array, shape (n_cells, 2), if they are known; NaN where not.

    Notes
    -----
    At most 2,000 cells of a sample are looked at, so the time is that of building a tree.
    """
    found, numbered = [], False
    if coordinates.ndim == 2 and coordinates.shape[1] == 2:
        scaled = to_scale(coordinates, samples)
        numbered = scaled is not coordinates
        groups = rows_by_label(len(coordinates), samples)
        found = [
            (None if numbers is None else grid_of_numbers(scaled[rows], numbers[rows]))
            or _grid_of(scaled[rows])
            for rows in groups
            if len(rows) > _N_NEAREST + 1
        ]
    kinds = {kind for kind, _ in found}
    if len(kinds) != 1 or "irregular" in kinds:
        return Layout("irregular", None, is_numbered=False)
    pitch = float(np.median([pitch for _, pitch in found]))
    return Layout(found[0][0], pitch, is_numbered=numbered)


def _grid_of(coordinates: FloatArray) -> tuple[Kind, float]:
    """Return the kind of the coordinates of one sample, and their pitch."""
    from scipy.spatial import cKDTree

    step = -(-len(coordinates) // _MOST_QUERIES)
    queries = np.asarray(coordinates[::step], np.float64)
    near = cKDTree(coordinates).query(queries, k=_N_NEAREST + 1)[0][:, 1:]
    nearest = float(np.median(near[:, 0]))
    if nearest <= 0:
        return "irregular", 0.0
    # The nearest of several rounded distances is too small, so the mean of the ring counts. The next one is at 1.41.
    ring = near[np.abs(near - nearest) < _RING * nearest]
    # Where half of the cells lie close and half far apart, the median is the distance of none.
    if not len(ring):
        return "irregular", 0.0
    pitch = float(np.median(ring))
    pitch = float(near[np.abs(near - pitch) < _RING * pitch].mean())
    tolerance = np.clip(
        _OF_ROUNDING * _last_digit(coordinates) / pitch, _TOLERANCE, _MOST_TOLERANCE
    )
    compared = near[near < _REACH * pitch] / pitch
    for kind, distances in _DISTANCES.items():
        # Rings of both grids begin with 1; the second ring shows which it is.
        off = np.abs(compared[:, None] - np.array(distances)).min(axis=1)
        if 2 * len(compared) >= near.size and (off < tolerance).mean() >= _LEAST_SHARE:
            return kind, pitch
    return "irregular", 0.0


def _last_digit(coordinates: FloatArray) -> float:
    """Return the step to which coordinates are rounded: the smallest difference on an axis; tiny where they are not."""
    steps = [np.diff(np.unique(axis)) for axis in np.asarray(coordinates, np.float64).T]
    return min((float(step.min()) for step in steps if len(step)), default=0.0)


def _is_numbered(coordinates: FloatArray) -> bool:
    """Return whether these are whole numbers of rows and columns, with every second place of a row empty."""
    if len(coordinates) <= _N_NEAREST + 1 or not (coordinates == np.round(coordinates)).all():
        return False
    return are_staggered(coordinates)
