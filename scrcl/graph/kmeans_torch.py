"""The passes of k-means by torch, on a GPU without FAISS for GPUs. Any device of torch will do.

Distances are matrix products, and so are sums: a product with zeros and ones. Both have the same bits in every run on
the same device, which scattered additions on a GPU do not have.
"""

# Shapes: B = rows of a block, K = centroids, D = dimensions.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl.graph.kmeans_passes import unit
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from scrcl.typing import FloatArray, IntArray

__all__ = ["TorchPasses"]

_BLOCK_VALUES = 1 << 23
"""Entries of a matrix of rows by centroids: 64 MB in float64."""
_MOST_ROWS = 65_536


class TorchPasses:
    """`scrcl.graph.kmeans_passes.Passes` on a device of torch; a block of rows at a time is copied to it.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    spherical
        Scale rows to unit length as they are read.
    device
        Name of the device, for example ``cuda:0``.
    """

    def __init__(self, points: FloatArray, *, spherical: bool, device: str) -> None:
        self.points, self.spherical = points, spherical
        self._device = torch.device(device)

    @torch.no_grad()
    def nearest(self, centroids: FloatArray) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the nearest centroid of each point, and its squared distance."""
        labels = np.empty(len(self.points), np.int32)
        squared = np.empty(len(self.points), np.float32)
        # Products lose the digits that all points share, so distances are taken from near the mean.
        centre = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred_kd = self._on_device(centroids - centre)
        half_k = centred_kd.square().sum(1) / 2
        for start, stop in row_blocks(len(self.points), self._block_rows(len(centroids))):
            block_bd = self._on_device(self._rows(start, stop) - centre)
            nearest_b = (half_k - block_bd @ centred_kd.T).argmin(1)
            away_b = (block_bd - centred_kd[nearest_b]).square().sum(1)
            labels[start:stop] = nearest_b.cpu().numpy()
            squared[start:stop] = away_b.cpu().numpy()
            release(self.points)
        return labels, squared

    @torch.no_grad()
    def sums(self, labels: IntArray, k: int) -> NDArray[np.float64]:
        """Return the sum of the points with each label."""
        total_kd = torch.zeros(k, self.points.shape[1], dtype=torch.float64, device=self._device)
        for start, stop in row_blocks(len(self.points), self._block_rows(k)):
            block_bd = self._on_device(self._rows(start, stop)).double()
            own_b = self._on_device(labels[start:stop].astype(np.int64))
            member_bk = torch.zeros(len(own_b), k, dtype=torch.float64, device=self._device)
            member_bk.scatter_(1, own_b[:, None], 1.0)
            total_kd += member_bk.T @ block_bd
            release(self.points)
        return total_kd.cpu().numpy()

    def _rows(self, start: int, stop: int) -> FloatArray:
        rows = self.points[start:stop]
        return unit(rows) if self.spherical else rows

    def _block_rows(self, k: int) -> int:
        return max(min(_BLOCK_VALUES // k, _MOST_ROWS), 1)

    def _on_device(self, rows: FloatArray | IntArray) -> Tensor:
        # torch wants rows that it may write to; those of a memory map are copied.
        own = np.require(rows, requirements=("C", "W"))
        return torch.from_numpy(own).to(self._device)
