"""k-means over points on disk: k-means++ starts, then Lloyd iterations over all points.

The k-means of FAISS starts from random points and keeps a subset, which leaves its objective a fifth above that of
scikit-learn. Here the start is k-means++ on a sample, all points are used, and sums are float64, taken in the order of
the points, in fixed blocks. So the result is a function of the points and the seed, for any number of threads. What
reads the points runs on the CPU (`scrcl.graph.kmeans_passes`) or on a GPU (`scrcl.graph.kmeans_torch`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import derive_seed, stream
from scrcl._threads import one_blas_thread
from scrcl.errors import InputError
from scrcl.graph.kmeans_passes import CpuPasses, unit
from scrcl.graph.plus_plus import plus_plus
from scrcl.io.arrays import as_points, require_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.kmeans_passes import Passes
    from scrcl.typing import FloatArray, IntArray

__all__ = ["KMeans", "assign", "kmeans", "passes_on"]

_SEEDING_ROWS = 32_768
_MOST_SEEDING_ROWS = 131_072
_LEAST_GAIN = 1e-5


class KMeans(NamedTuple):
    """A clustering of points."""

    labels: NDArray[np.int32]
    """shape (n_points,)"""
    centroids: NDArray[np.float32]
    """shape (k, n_dims); of unit length if spherical"""
    objective: float
    """Sum of squared distances of points (scaled to unit length if spherical) to their centroids"""

    def without_empty(self) -> KMeans:
        """Return the clustering without centroids that have no points."""
        names, labels = np.unique(self.labels, return_inverse=True)
        return self._replace(labels=labels.astype(np.int32), centroids=self.centroids[names])


def passes_on(points: FloatArray, *, spherical: bool, device: str) -> Passes:
    """Return the passes for a device: exact search on the CPU, torch on a GPU.

    The k-means of FAISS is not used: on a GPU it would need faiss-gpu, starts from random points, and drops points.
    """
    if device == "cpu":
        return CpuPasses(points, spherical=spherical)
    from scrcl.graph.kmeans_torch import TorchPasses

    return TorchPasses(points, spherical=spherical, device=device)


def kmeans(
    points: FloatArray,
    k: int,
    *,
    seed: int,
    n_init: int = 3,
    n_iter: int = 100,
    spherical: bool = False,
    init: FloatArray | None = None,
    max_points_per_centroid: int | None = None,
    device: str = "cpu",
) -> KMeans:
    """Return the best clustering into ``k`` clusters out of ``n_init`` runs, by objective.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks twice per iteration and never
        copied. Memory is ``8 * n_points`` bytes and a few blocks.
    k
        Number of clusters.
    seed
        Root of the random streams.
    n_init
        Number of runs, each from k-means++ centroids of its own; 1 if ``init`` is given.
    n_iter
        Most iterations of a run. It ends when the objective falls by less than 1 in 100,000.
    spherical
        Cluster directions: rows are scaled to unit length, a block at a time, and so are centroids.
    init
        ndarray of float32, shape (k, n_dims): centroids to start from.
    max_points_per_centroid
        Learn from a random sample of ``k`` times so many points, which is copied. None uses all points.
    device
        Where points are compared with centroids and added up. The start is the same everywhere; a GPU may differ from
        the CPU where a point is equally far from two centroids, up to rounding.

    Raises
    ------
    InputError
        There are fewer points than clusters, or an argument breaks its rule.

    References
    ----------
    Arthur, Vassilvitskii: k-means++: the advantages of careful seeding. SODA 2007.
    Lloyd: Least squares quantization in PCM. IEEE Transactions on Information Theory 28 (1982).
    """
    points = as_points(points)
    require_finite(points)
    _check(points, k, n_init, n_iter, max_points_per_centroid, init)
    n_training = len(points) if max_points_per_centroid is None else k * max_points_per_centroid
    training = _sample(points, n_training, seed, "graph.kmeans.points", 0)
    starts = (
        (_plus_plus(training, k, seed, run, spherical) for run in range(n_init))
        if init is None
        else [as_points(init)]
    )
    learned = passes_on(training, spherical=spherical, device=device)
    runs = (_lloyd(learned, start, n_iter) for start in starts)
    best = min(runs, key=lambda run: run.objective)
    if len(training) == len(points):
        return best
    every = passes_on(points, spherical=spherical, device=device)
    labels, squared = every.nearest(best.centroids)
    return KMeans(labels, best.centroids, float(squared.sum(dtype=np.float64)))


def assign(points: FloatArray, centroids: FloatArray) -> NDArray[np.int32]:
    """Return the nearest centroid of each point; of equally near ones, the first.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks.
    centroids
        ndarray of float32, shape (k, n_dims). If they have unit length (spherical k-means), points need no scaling:
        the nearest centroid is also the nearest in direction.

    Returns
    -------
    ndarray of int32, shape (n_points,)

    Raises
    ------
    InputError
        Points and centroids differ in dimensions, or are not matrices.
    """
    points, centroids = as_points(points), as_points(centroids, "centroids")
    if points.shape[1] != centroids.shape[1]:
        message = (
            f"centroids must have the {points.shape[1]} dimensions of the points; "
            f"got {centroids.shape[1]}. Use centroids of points of the same kind."
        )
        raise InputError(message)
    return passes_on(points, spherical=False, device="cpu").nearest(centroids)[0]


def _check(
    points: FloatArray,
    k: int,
    n_init: int,
    n_iter: int,
    max_points_per_centroid: int | None,
    init: FloatArray | None,
) -> None:
    """Raise InputError if an argument of `kmeans` breaks its rule."""
    if not 1 <= k <= len(points):
        message = f"k must be from 1 to {len(points)}, the number of points; got {k}. Ask for fewer clusters."
        raise InputError(message)
    counts = {
        "n_init": n_init,
        "n_iter": n_iter,
        "max_points_per_centroid": max_points_per_centroid,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            message = f"{name} must be at least 1; got {value}. Choose a larger number."
            raise InputError(message)
    if init is not None:
        require_finite(as_points(init, "init"), "init")
    if init is not None and np.shape(init) != (k, points.shape[1]):
        message = (
            f"init must have shape {(k, points.shape[1])}; got {np.shape(init)}. "
            "Give one row per cluster."
        )
        raise InputError(message)


def _lloyd(passes: Passes, centroids: FloatArray, n_iter: int) -> KMeans:
    """Alternate between assignment and means until the objective falls no more."""
    if passes.spherical:
        centroids = unit(centroids)
    before = np.inf
    for _ in range(n_iter):
        labels, squared = passes.nearest(centroids)
        objective = float(squared.sum(dtype=np.float64))
        if before - objective <= _LEAST_GAIN * objective:
            return KMeans(labels, centroids, objective)
        before = objective
        centroids = _means(passes, labels, squared, centroids)
    labels, squared = passes.nearest(centroids)
    return KMeans(labels, centroids, float(squared.sum(dtype=np.float64)))


def _means(
    passes: Passes, labels: IntArray, squared: FloatArray, centroids: FloatArray
) -> FloatArray:
    """Return the mean of each cluster. An empty cluster moves to a point far from its centroid.

    ``squared`` holds the squared distance of each point to its centroid in ``centroids``.
    """
    k = len(centroids)
    sizes = np.bincount(labels, minlength=k)
    means = (passes.sums(labels, k) / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(sizes == 0)
    means[empty] = centroids[empty]
    far = _farthest(squared, len(empty))
    means[empty[: len(far)]] = passes.points[far]
    return unit(means) if passes.spherical else means


def _farthest(squared: FloatArray, n: int) -> IntArray:
    """Return up to ``n`` rows with the largest distances above 0; equal distances are ordered by row."""
    if n == 0:
        return np.empty(0, np.int64)
    bound = np.partition(squared, len(squared) - n)[len(squared) - n]
    rows = np.flatnonzero((squared >= bound) & (squared > 0))
    return rows[np.argsort(-squared[rows], kind="stable")[:n]]


def _plus_plus(points: FloatArray, k: int, seed: int, run: int, spherical: bool) -> FloatArray:
    """Return k-means++ centroids of a sample of the points."""
    n_rows = max(_SEEDING_ROWS, min(256 * k, _MOST_SEEDING_ROWS), k)
    sample = _sample(points, n_rows, seed, "graph.kmeans.sample", run)
    draws = derive_seed(seed, "graph.kmeans.plusplus", run) % (1 << 32)
    with one_blas_thread():
        return plus_plus(unit(sample) if spherical else sample, k, seed=draws)


def _sample(points: FloatArray, n_rows: int, seed: int, name: str, run: int) -> FloatArray:
    """Return a copy of at most ``n_rows`` random rows, ascending; all rows, not copied, if there are no more."""
    if n_rows >= len(points):
        return points
    chosen = stream(seed, name, run).choice(len(points), n_rows, replace=False, shuffle=False)
    return points[np.sort(chosen)]
