"""Cells of a tissue by slice, so that each slice has a map of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Placed", "by_slice", "side_by_side"]

_MOST_SECTIONS = 60
_RANGES = 6

_SHAPE = 0.7
"""Width of a map in the report over its height."""

_GAP, _HEADING = 0.06, 0.16
"""Room beside and above a slice, as a share of its longer side."""

_ONE_UNIT = 20
"""Slices whose cells lie so many times as far apart as those of another are in another unit."""


class Placed(NamedTuple):
    """Where cells are drawn, if slices lie side by side."""

    xy: FloatArray
    """shape (n_cells, 2): coordinates times the scale of the slice, plus its shift"""
    has_one_scale: bool
    """whether all slices have one scale"""
    scale: FloatArray
    """shape (n_slices,)"""
    shift: FloatArray
    """shape (n_slices, 2)"""


def by_slice(
    coordinates: FloatArray, samples: CellLabels | None = None
) -> list[tuple[str, IntArray]]:
    """Return the name and the positions of the cells of each slice. No cell is in two.

    Cells of one sample are separated by their third coordinate: by its value where few cells have few values (sections
    of a stack), otherwise by six equal ranges of it.

    Parameters
    ----------
    coordinates
        ndarray of floats, shape (n_cells, 2) or (n_cells, 3).
    samples
        Sample of each cell; None: one sample.
    """
    n = len(coordinates)
    codes = np.zeros(n, dtype=np.int64) if samples is None else samples.codes
    names = ("",) if samples is None else samples.names
    found = []
    for code, name in enumerate(names):
        cells = np.flatnonzero(codes == code)
        for height, part in _heights(coordinates[cells]):
            label = ", ".join(filter(None, [name, height]))
            found.append((label, cells[part]))
    return [(label, cells) for label, cells in found if len(cells)]


def _heights(coordinates: FloatArray) -> list[tuple[str, IntArray]]:
    """Return the sections of one sample: name and positions."""
    everything: list[tuple[str, IntArray]] = [("", np.arange(len(coordinates)))]
    if coordinates.shape[1] < 3 or not len(coordinates):
        return everything
    z = coordinates[:, 2]
    values = np.unique(z)
    if len(values) == 1:
        return everything
    if len(values) <= min(_MOST_SECTIONS, len(z) / 2):
        return [(f"z = {value:g}", np.flatnonzero(z == value)) for value in values]
    edges = np.linspace(values[0], values[-1], _RANGES + 1)
    part = np.clip(np.searchsorted(edges, z, side="right") - 1, 0, _RANGES - 1)
    return [
        (f"z from {edges[i]:.3g} to {edges[i + 1]:.3g}", np.flatnonzero(part == i))
        for i in range(_RANGES)
    ]


def side_by_side(xy: FloatArray, slice_of: IntArray, n_slices: int) -> Placed:
    """Return positions at which slices lie in rows and columns.

    Slices whose coordinates are in other units, pixels and micrometres for example, are scaled to the same distance
    between cells. Otherwise the larger slice is drawn larger.

    Parameters
    ----------
    xy
        ndarray of floats, shape (n_cells, 2).
    slice_of
        Number of the slice of each cell; numbers of ``n_slices`` and above are of no slice, and have no place.
    """
    of = [np.flatnonzero(slice_of == i) for i in range(n_slices)]
    spans = np.array([np.ptp(xy[rows], axis=0) if len(rows) else (0, 0) for rows in of])
    apart = spans.max(axis=1) / np.sqrt([max(len(rows), 1) for rows in of])
    known = apart[apart > 0]
    is_one = not len(known) or known.max() <= _ONE_UNIT * known.min()
    scale = np.ones(n_slices) if is_one else 1 / np.where(apart > 0, apart, 1)
    wide, high = np.maximum((spans * scale[:, None]).max(axis=0), 1e-30)
    longer = max(wide, high)
    tile = np.array([wide + _GAP * longer, high + _HEADING * longer])
    shapes = [
        abs(np.log(n * tile[0] / (-(-n_slices // n) * tile[1]) / _SHAPE))
        for n in range(1, n_slices + 1)
    ]
    n_columns = int(np.argmin(shapes)) + 1
    placed, shift = np.zeros((len(xy), 2)), np.zeros((n_slices, 2))
    for i, rows in enumerate(of):
        if not len(rows):
            continue
        row, column = divmod(i, n_columns)
        room = np.array([wide, high]) - spans[i] * scale[i]
        corner = np.array([column, row]) * tile + room / 2
        low = xy[rows].min(axis=0)
        placed[rows] = corner + (xy[rows] - low) * scale[i]
        shift[i] = corner - low * scale[i]
    return Placed(placed, is_one, scale, shift)
