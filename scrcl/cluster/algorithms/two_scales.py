"""Averages over a tissue at two scales, side by side: as they are, and averaged once more over the cells around.

Domains are wider than the cells that an average is made of. So the averages around a cell show its domain too, with
less noise and less sharp borders. Each shows what the other does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.graph.propagate import averages
from scrcl.io.arrays import SMALL_MAP_BYTES, as_points, release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["TwoScales"]


class TwoScales:
    """Points, and the mean of each and of those around it, of which some rows at a time are made.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_cells, n_dims): averages over a tissue.
    around
        ndarray or memory map of int, shape (n_cells, k): the cells around each cell, -1 for none.
    """

    def __init__(self, points: FloatArray, around: IntArray) -> None:
        self._points, self._around = as_points(points), around

    def rows(self, cells: IntArray) -> NDArray[np.float64]:
        """Return the points of some cells at both scales: shape (n_some, 2 n_dims)."""
        with_self = np.concatenate([cells[:, None], np.asarray(self._around[cells])], axis=1)
        wider = averages(with_self, len(self._points)) @ self._points
        found = np.concatenate([self._points[cells], wider], axis=1, dtype=np.float64)
        for read in (self._points, self._around):
            release(read, above=SMALL_MAP_BYTES)
        return found
