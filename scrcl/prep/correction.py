"""What a fit of Harmony found, and what it does to cells that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.io.npz import ArrayFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["SIGMA", "Correction", "by_batch", "joined", "soft_clusters"]

# Shapes: D = components, K = centroids, B = batches.

SIGMA = 0.1
"""Width of the soft clusters, Harmony's default."""

_ROUNDS = 3
"""Times that soft clusters and shifts of a cell are computed in turn. More change nothing of note."""


@dataclass(frozen=True, eq=False)
class Correction(ArrayFile):
    """What Harmony found: enough to correct cells that it was not fitted on."""

    centroids: NDArray[np.float32]
    """shape (K, D), unit length: centres of the soft clusters, among corrected cells"""
    intercepts: NDArray[np.float32]
    """shape (K, D): mean of the corrected cells of each cluster"""
    shifts: NDArray[np.float32]
    """shape (B, K, D): what is subtracted from cells of each batch, in each cluster"""
    mean_shifts: NDArray[np.float32]
    """shape (B, D): the same as a mean over the cells of a batch"""

    @classmethod
    def around(cls, sizes: FloatArray, means: FloatArray, shifts: FloatArray) -> Correction:
        """Return a correction with soft clusters of these sizes around these means of corrected cells."""
        lengths = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        mean_shifts = np.einsum("k,bkd->bd", sizes / sizes.sum(), shifts)
        arrays = means / lengths, means, shifts, mean_shifts
        return cls(*(np.asarray(array, np.float32) for array in arrays))

    def corrected(
        self, points: FloatArray, codes: IntArray, shift_all: BoolArray | None = None
    ) -> NDArray[np.float32]:
        """Return corrected rows of ``points``.

        Parameters
        ----------
        points, codes
            float32, shape (n, D), and the batch of each row.
        shift_all
            bool, shape (n,): rows that are shifted as a mean over their batch, because no other batch has such cells.
        """
        found = points - self.mean_shifts[codes]
        rows = np.arange(len(points)) if shift_all is None else np.flatnonzero(~shift_all)
        for batch, of_batch in by_batch(codes[rows]):
            cells = rows[of_batch]
            weights = self.weights(points[cells], batch)
            found[cells] = points[cells] - weights @ self.shifts[batch]
        return np.asarray(found, np.float32)

    def moved(self, means: FloatArray) -> Correction:
        """Return a correction of points that lie ``means[batch]`` away from those that this one corrects."""
        return replace(
            self,
            shifts=(self.shifts + means[:, None, :]).astype(np.float32),
            mean_shifts=(self.mean_shifts + means).astype(np.float32),
        )

    def weights(self, points: FloatArray, batch: int) -> NDArray[np.float32]:
        """Return the share of each soft cluster in each row: float32, shape (n, K).

        Clusters are searched among corrected cells, and the correction depends on the clusters, so both are computed
        in turn.
        """
        placed = points - self.mean_shifts[batch]
        for turn in range(_ROUNDS):
            weights = soft_clusters(placed, self.centroids)
            if turn + 1 < _ROUNDS:
                placed = points - weights @ self.shifts[batch]
        return weights


def joined(known: Correction, others: Correction) -> Correction:
    """Return a correction whose batches are those of ``known``, and then those of ``others``."""
    return replace(
        known,
        shifts=np.concatenate([known.shifts, others.shifts]),
        mean_shifts=np.concatenate([known.mean_shifts, others.mean_shifts]),
    )


def soft_clusters(points: FloatArray, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share of each cluster in each row, by the angle to its centroid: float32, shape (n, K)."""
    lengths = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    weights: NDArray[np.float32] = (points / lengths).astype(np.float32) @ centroids.T
    weights -= weights.max(axis=1, keepdims=True)
    weights *= np.float32(2 / SIGMA)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def by_batch(codes: IntArray) -> Iterable[tuple[int, IntArray]]:
    """Yield each batch that has rows, with its rows in order."""
    order = np.argsort(codes, kind="stable")
    batches, starts = np.unique(codes[order], return_index=True)
    yield from zip(batches.tolist(), np.split(order, starts[1:]), strict=True)
