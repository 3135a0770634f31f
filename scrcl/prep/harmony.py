"""Correct component scores for batches with Harmony, for any number of cells.

Harmony is fitted by `harmonypy` on cells in memory. What it found is kept as a few arrays: centroids, and by how much
each batch lies apart around each centroid (`scrcl.prep.correction`). With these, further cells are corrected block by
block. The cells of a large atlas are, and so are new cells of a prediction.

References
----------
Korsunsky et al.: Fast, sensitive and accurate integration of single-cell data with Harmony, Nature Methods 16 (2019),
1289-1296: soft clustering, and the ridge regression of each cluster on its batches.
Kang et al.: Efficient and precise single-cell reference atlas mapping with Symphony, Nature Communications 12 (2021),
5890: correction of new cells towards fitted centroids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import derive_seed
from scrcl._threads import one_blas_thread
from scrcl.prep.correction import SIGMA, Correction, by_batch, soft_clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "Fit",
    "correct_alike",
    "fit_harmony",
    "refit",
    "shifted",
    "shifts_alike",
    "solve_ridge",
]

# Shapes: N = cells, D = components, K = centroids, B = batches.

_THETA = 2.0
"""Pressure on clusters to hold all batches, Harmony's default. With 1, donors far apart stayed apart
(``bench.batches.donors``)."""

_RIDGE = 0.2
"""Ridge penalty, as a share of the cells that chance would give a batch in a cluster: Harmony's default."""

_RIDGE_OF_NEW_CELLS = 1.0
"""Ridge penalty in cells, for batches that are moved towards others which stay: Symphony's default."""

_MOST_CENTROIDS = 100
_CELLS_PER_CENTROID = 30


class Fit(NamedTuple):
    """A correction, and the cells that it was fitted on."""

    correction: Correction
    corrected: NDArray[np.float32]
    """shape (N, D)"""
    n_rounds: int


def _n_centroids(n_cells: int) -> int:
    """Return how many soft clusters Harmony gets."""
    return max(2, min(round(n_cells / _CELLS_PER_CENTROID), _MOST_CENTROIDS))


def fit_harmony(
    points: FloatArray, codes: IntArray, n_batches: int, *, seed: int, n_workers: int = 1
) -> Fit:
    """Fit Harmony on cells in memory.

    Parameters
    ----------
    points
        ndarray of float32, shape (N, D): component scores.
    codes
        ndarray of int, shape (N,): batch of each cell, below ``n_batches``. Batches without cells are not shifted.
    seed
        Root of the random stream.
    n_workers
        Threads. They change no bit.
    """
    from harmonypy import run_harmony

    found = run_harmony(
        points,
        {"batch": np.asarray(codes)},
        "batch",
        theta=_THETA,
        sigma=SIGMA,
        alpha=_RIDGE,
        nclust=_n_centroids(len(points)),
        verbose=False,
        random_state=derive_seed(seed, "harmony") % 2**31,
        ncores=n_workers,
    )
    weights = found.R  # each access copies it
    sums = _Sums.zeros(weights.shape[1], n_batches, points.shape[1])
    for batch, rows in by_batch(codes):
        sums.add(batch, weights[rows], points[rows])
    centroids = np.ascontiguousarray(found.Y.T, np.float32)
    correction = _corrections(centroids, sums)
    return Fit(correction, found.Z_corr.astype(np.float32), len(found.objective_harmony))


def refit(
    correction: Correction,
    blocks: Callable[[], Iterable[tuple[FloatArray, IntArray]]],
    *,
    n_batches: int,
    fixed: bool = False,
    starts: FloatArray | None = None,
    rounds: int = 1,
) -> Correction:
    """Return a correction whose shifts are those of all cells, read block by block.

    Parameters
    ----------
    correction
        Fitted on some of the cells.
    blocks
        Yields rows of the points and their batches, in the same order each time.
    n_batches
        Batches of the cells. Those that ``correction`` does not know start without a shift.
    fixed
        Keep the means of the corrected clusters, and move cells towards them: for new cells.
    starts
        shape (n_batches, n_dims): by how much unknown batches are shifted at first; by default they are not.
    rounds
        Times that all cells are read. Unknown batches need several, because their cells first lie apart.
    """
    n_known, k, d = correction.shifts.shape
    if fixed or n_known != n_batches:
        first = np.zeros((n_batches, d)) if starts is None else starts
        correction = replace(
            correction,
            shifts=np.repeat(first[:, None], k, axis=1).astype(np.float32),
            mean_shifts=first.astype(np.float32),
        )
    for _ in range(rounds):
        sums = _Sums.zeros(k, n_batches, d)
        with one_blas_thread():
            for points, codes in blocks():
                for batch, rows in by_batch(codes):
                    sums.add(batch, correction.weights(points[rows], batch), points[rows])
        correction = _corrections(
            correction.centroids, sums, correction.intercepts if fixed else None
        )
    return correction


def correct_alike(
    correction: Correction, corrected: FloatArray, scores: FloatArray, codes: IntArray
) -> NDArray[np.float32]:
    """Return other scores of corrected cells without the differences between batches in the same soft clusters.

    Harmony alone may leave batches apart in one scaling of the counts and join them in another. So the soft clusters
    are those that it found, and only the ridge regression is repeated.

    Parameters
    ----------
    corrected
        float32, shape (n, D): the scores that the correction is of, corrected.
    scores
        float32, shape (n, n_comps): of the same cells in another space.
    codes
        ndarray of int, shape (n,): batch of each cell in the correction.
    """
    with one_blas_thread():
        weights = soft_clusters(corrected, correction.centroids)
        shifts = shifts_alike([(weights, scores, codes)], len(correction.shifts))
        return shifted(weights, scores, codes, shifts)


def shifts_alike(
    blocks: Iterable[tuple[FloatArray, FloatArray, IntArray]], n_batches: int
) -> NDArray[np.float64]:
    """Return by how much each batch lies apart in each soft cluster: shape (B, K, n_comps).

    Parameters
    ----------
    blocks
        Yields the share of each soft cluster in some cells, their scores, and their batches.
    """
    sums: _Sums | None = None
    for weights, scores, codes in blocks:
        if sums is None:
            sums = _Sums.zeros(weights.shape[1], n_batches, scores.shape[1])
        for batch, rows in by_batch(codes):
            sums.add(batch, weights[rows], scores[rows])
    assert sums is not None, "there are cells"
    return solve_ridge(sums.cells, sums.points)[1]


def shifted(
    weights: FloatArray, scores: FloatArray, codes: IntArray, shifts: FloatArray
) -> NDArray[np.float32]:
    """Return scores without the shifts of their batches, weighted by the shares of the soft clusters."""
    found = np.empty_like(scores)
    for batch, rows in by_batch(codes):
        found[rows] = scores[rows] - weights[rows] @ shifts[batch]
    return found


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over cells, for each batch and cluster."""

    cells: NDArray[np.float64]
    """shape (B, K): shares of cells"""
    points: NDArray[np.float64]
    """shape (B, K, D): their points"""

    @classmethod
    def zeros(cls, k: int, n_batches: int, d: int) -> _Sums:
        return cls(np.zeros((n_batches, k)), np.zeros((n_batches, k, d)))

    def add(self, batch: int, weights: FloatArray, points: FloatArray) -> None:
        self.cells[batch] += weights.sum(axis=0, dtype=np.float64)
        with one_blas_thread():
            self.points[batch] += weights.T @ points


def _corrections(
    centroids: NDArray[np.float32], sums: _Sums, intercepts: FloatArray | None = None
) -> Correction:
    intercepts, shifts = solve_ridge(sums.cells, sums.points, intercepts)
    of_batch = np.maximum(sums.cells.sum(axis=1), 1e-12)
    means = np.einsum("bk,bkd->bd", sums.cells, shifts) / of_batch[:, None]
    return Correction(
        centroids,
        intercepts.astype(np.float32),
        shifts.astype(np.float32),
        means.astype(np.float32),
    )


def solve_ridge(
    cells: FloatArray, points: FloatArray, intercepts: FloatArray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each cluster without batches, and how far each batch lies from it.

    In cluster k, the sum over its cells of ``weight * |point - a - w_batch|^2`` plus ``sum_b penalty_b |w_b|^2`` is
    least. Each cell is in one batch, so the normal equations have the form of an arrow, with a closed solution. With a
    given ``a``, each ``w_b`` is solved alone.

    Parameters
    ----------
    cells, points
        Sums of weights and of weighted points, float64, shapes (B, K) and (B, K, D).
    intercepts
        ``a``, shape (K, D), where it is known.

    Returns
    -------
    tuple of ndarray of float64
        ``a``, shape (K, D), and ``w``, shape (B, K, D).
    """
    sizes = cells.sum(axis=1, keepdims=True)
    if intercepts is not None:
        penalty = np.full_like(cells, _RIDGE_OF_NEW_CELLS)
    else:
        share = sizes / max(float(sizes.sum()), 1e-12)
        penalty = np.maximum(_RIDGE * share * cells.sum(axis=0), 1e-9)
        # What is left of a batch's cells once its own shift took its part.
        left = penalty / (cells + penalty)
        total = np.maximum((left * cells).sum(axis=0), 1e-12)
        intercepts = np.einsum("bk,bkd->kd", left, points) / total[:, None]
    shifts = (points - cells[:, :, None] * intercepts) / (cells + penalty)[:, :, None]
    return np.asarray(intercepts, np.float64), shifts
