"""What k-means does with all points: nearest centroids, and sums of clusters. On the CPU.

Points are assigned by exact search (`scrcl.graph.exact`). `scrcl.graph.kmeans_torch` has the same for a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from scrcl._group_means import group_sums
from scrcl.graph.exact import nearest
from scrcl.io.arrays import cores, for_each_block, release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["CpuPasses", "Passes", "unit"]

_BLOCK_ROWS = 65_536
_SEARCH_ROWS = 16_384


class Passes(Protocol):
    """Two passes over points, read in blocks of rows.

    Attributes
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    spherical
        Rows are scaled to unit length as they are read.
    """

    points: FloatArray
    spherical: bool

    def nearest(self, centroids: FloatArray) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the nearest centroid of each point (of equally near ones, the first), and its squared distance."""
        ...

    def sums(self, labels: IntArray, k: int) -> NDArray[np.float64]:
        """Return the sum of the points with each of ``k`` labels: shape (k, n_dims), zeros for a label of no point."""
        ...


class CpuPasses:
    """`Passes` whose bits do not depend on the number of threads."""

    def __init__(self, points: FloatArray, *, spherical: bool) -> None:
        self.points, self.spherical = points, spherical

    def nearest(self, centroids: FloatArray) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the nearest centroid of each point, and its squared distance."""
        labels = np.empty(len(self.points), np.int32)
        squared = np.empty(len(self.points), np.float32)

        def search(start: int, stop: int) -> None:
            labels[start:stop], squared[start:stop] = nearest(self._rows(start, stop), centroids)
            release(self.points)

        for_each_block(search, row_blocks(len(self.points), _SEARCH_ROWS), n_workers=cores())
        return labels, squared

    def sums(self, labels: IntArray, k: int) -> NDArray[np.float64]:
        """Return the sum of the points with each label."""
        total = np.zeros((k, self.points.shape[1]), np.float64)
        for start, stop in row_blocks(len(self.points), _BLOCK_ROWS):
            total += group_sums(self._rows(start, stop), labels[start:stop], k)
            release(self.points)
        return total

    def _rows(self, start: int, stop: int) -> FloatArray:
        rows = self.points[start:stop]
        return unit(rows) if self.spherical else rows


def unit(rows: FloatArray) -> FloatArray:
    """Return rows scaled to unit length; rows of zeros stay zeros."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    norms[norms == 0] = 1
    return np.asarray(rows / norms[:, None], dtype=np.float32)
