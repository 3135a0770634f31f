"""Cells of a tissue by slice, so that each slice has a map of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_slice"]

_MOST_SECTIONS = 60
_RANGES = 6


def by_slice(
    coordinates: FloatArray, samples: CellLabels | None = None
) -> list[tuple[str, IntArray]]:
    """Return the name and the positions of the cells of each slice. No cell is in two.

    Cells of one sample are parted by their third coordinate: by its value where few cells have few values (sections of
    a stack), otherwise by six equal ranges of it.

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
