"""The grid of spots whose place in the array is known by its numbers of row and column.

Space Ranger writes these numbers (``array_row``, ``array_col``) next to the pixels of each spot. The pixels may be few
to a spot, or rounded, so that distances no longer show the grid; the numbers always do. They count only where one
turned and scaled grid of them lies where the coordinates are, so coordinates of another origin are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import FloatArray

__all__ = ["HALF_COLUMNS", "are_staggered", "grid_of_numbers"]

HALF_COLUMNS = 3**0.5
"""Rows of a hexagonal grid lie this much farther apart than its half columns."""

_MOST_FITTED = 2_000
_LEAST_SPOTS = 8
_LEAST_ROUND = 0.9
"""Shortest over longest of the two steps of a grid that is turned and scaled, but not squeezed."""
_OFF, _SHARE = 0.35, 0.9
"""Part of the pitch by which spots may miss their place, and share of them that must not miss it by more. Whole pixels
at a pitch of two do not."""


def are_staggered(numbers: FloatArray) -> bool:
    """Return whether these are whole numbers of rows and columns, with every second place of a row empty."""
    x, y = numbers[:, 0], numbers[:, 1]
    parity = (x + y) % 2
    if not (parity == parity[0]).all():
        return False
    # Bins of even numbers have one parity too, but then on each axis.
    steps = [np.diff(np.unique(axis)) for axis in (x, y)]
    return all(len(step) > 0 and float(np.median(step)) == 1 for step in steps)


def grid_of_numbers(
    coordinates: FloatArray, numbers: FloatArray
) -> tuple[Literal["hexagonal", "square"], float] | None:
    """Return the kind of the grid of one sample, and its pitch in units of the coordinates; None if they do not fit.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_spots, 2).
    numbers
        Row and column of each spot: ndarray of float, shape (n_spots, 2); NaN where there is none.
    """
    if len(numbers) < _LEAST_SPOTS or not np.array_equal(numbers, np.round(numbers)):
        return None
    if len(np.unique(numbers, axis=0)) < len(numbers):  # slices that lie on each other
        return None
    staggered = are_staggered(numbers)
    step = -(-len(numbers) // _MOST_FITTED)
    rows, columns = numbers[::step].T
    if staggered:
        rows, columns = rows * (HALF_COLUMNS / 2), columns / 2
    places = np.column_stack([rows, columns, np.ones(len(rows))])
    points = np.asarray(coordinates[::step], np.float64)
    fit, _, rank, _ = np.linalg.lstsq(places, points, rcond=None)
    steps = np.linalg.svd(fit[:2], compute_uv=False)
    if rank < places.shape[1] or steps[1] < _LEAST_ROUND * steps[0]:
        return None
    pitch = float(np.sqrt(steps.prod()))
    off = np.linalg.norm(points - places @ fit, axis=1)
    if (off <= _OFF * pitch).mean() < _SHARE:
        return None
    return "hexagonal" if staggered else "square", pitch
