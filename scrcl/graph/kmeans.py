"""k-means over points on disk: k-means++ seeds, then Lloyd's iterations over all points.

FAISS's own k-means starts from random points and keeps a subsample, which leaves the objective a
fifth above scikit-learn's. Here the start is k-means++ on a sample, every point is used, and sums
are float64. Assignment is exact search (`scrcl.graph.exact`) and sums are taken in the order of the points, in
fixed blocks: the result is a function of the points and the seed, whatever the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from scrcl._random import derive_seed, stream
from scrcl._threads import one_blas_thread
from scrcl.errors import InputError
from scrcl.graph.exact import nearest
from scrcl.io.arrays import (
    as_points,
    cores,
    for_each_block,
    release,
    require_finite,
    row_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["KMeans", "assign", "kmeans"]

BLOCK_ROWS = 65_536
SEARCH_ROWS = 16_384
SEEDING_ROWS = 32_768
MOST_SEEDING_ROWS = 131_072
LEAST_GAIN = 1e-5


class KMeans(NamedTuple):
    """A clustering of points."""

    labels: NDArray[np.int32]
    """shape (n_points,)"""
    centroids: NDArray[np.float32]
    """shape (k, n_dims); of unit length where spherical"""
    objective: float
    """Sum of squared distances of points (of unit length where spherical) to their centroids"""


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
) -> KMeans:
    """Cluster points into ``k`` groups: the best of ``n_init`` runs by objective.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks twice in each
        iteration and never copied. Memory is ``8 * n_points`` bytes and a few blocks.
    k, seed
        Number of clusters; root of the random streams.
    n_init
        Runs, each from its own k-means++ seeds; one where ``init`` is given.
    n_iter
        Most iterations of a run; it ends once the objective falls by less than 1 in 100,000.
    spherical
        Cluster directions: rows are scaled to unit length (a block at a time), centroids too.
    init
        ndarray of float32, shape (k, n_dims): centroids to start from.
    max_points_per_centroid
        Learn from a random sample of ``k`` times as many points, which is copied. None uses all.

    Raises
    ------
    InputError
        When there are fewer points than clusters, or an argument breaks its rule.
    """
    points = as_points(points)
    require_finite(points)
    _check(points, k, n_init, n_iter, max_points_per_centroid, init)
    n_training = len(points) if max_points_per_centroid is None else k * max_points_per_centroid
    training = _sample(points, n_training, seed, "graph.kmeans.points", 0)
    starts = _starts(training, k, seed, n_init, spherical) if init is None else [as_points(init)]
    runs = (_lloyd(training, start, n_iter, spherical) for start in starts)
    best = min(runs, key=lambda run: run.objective)
    if len(training) == len(points):
        return best
    labels, squared = _nearest_centroids(points, best.centroids, spherical)
    return KMeans(labels, best.centroids, float(squared.sum(dtype=np.float64)))


def _starts(
    points: FloatArray, k: int, seed: int, n_init: int, spherical: bool
) -> Iterator[FloatArray]:
    """Yield the centroids that each run starts from."""
    for run in range(n_init):
        yield _plus_plus(points, k, seed, run, spherical)


def assign(points: FloatArray, centroids: FloatArray) -> NDArray[np.int32]:
    """Return the nearest centroid of each point (the first of equally near ones), read in blocks.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    centroids
        ndarray of float32, shape (k, n_dims). Centroids of unit length (spherical k-means) need no
        scaling of the points: the nearest is also the nearest in direction.

    Returns
    -------
    ndarray of int32, shape (n_points,)
    """
    points, centroids = as_points(points), as_points(centroids, "centroids")
    if points.shape[1] != centroids.shape[1]:
        msg = (
            f"centroids must have the {points.shape[1]} dimensions of the points; "
            f"got {centroids.shape[1]}. Use centroids found on the same kind of points."
        )
        raise InputError(msg)
    return _nearest_centroids(points, centroids, spherical=False)[0]


def _check(
    points: FloatArray,
    k: int,
    n_init: int,
    n_iter: int,
    max_points_per_centroid: int | None,
    init: FloatArray | None,
) -> None:
    """Raise InputError where an argument of `kmeans` breaks its rule."""
    if not 1 <= k <= len(points):
        msg = f"k must lie between 1 and the {len(points)} points; got {k}. Ask for fewer clusters."
        raise InputError(msg)
    counts = {
        "n_init": n_init,
        "n_iter": n_iter,
        "max_points_per_centroid": max_points_per_centroid,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            msg = f"{name} must be at least 1; got {value}. Give a positive number."
            raise InputError(msg)
    if init is not None:
        require_finite(as_points(init, "init"), "init")
    if init is not None and np.shape(init) != (k, points.shape[1]):
        msg = (
            f"init must have shape {(k, points.shape[1])}; got {np.shape(init)}. "
            "Give one row for each cluster."
        )
        raise InputError(msg)


def _lloyd(points: FloatArray, centroids: FloatArray, n_iter: int, spherical: bool) -> KMeans:
    """Alternate assignment and means until the objective stops falling."""
    if spherical:
        centroids = _unit(centroids)
    before = np.inf
    for _ in range(n_iter):
        labels, squared = _nearest_centroids(points, centroids, spherical)
        objective = float(squared.sum(dtype=np.float64))
        if before - objective <= LEAST_GAIN * objective:
            return KMeans(labels, centroids, objective)
        before = objective
        centroids = _means(points, labels, squared, centroids, spherical)
    labels, squared = _nearest_centroids(points, centroids, spherical)
    return KMeans(labels, centroids, float(squared.sum(dtype=np.float64)))


def _nearest_centroids(
    points: FloatArray, centroids: FloatArray, spherical: bool
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return each point's nearest centroid and its squared distance."""
    labels = np.empty(len(points), np.int32)
    squared = np.empty(len(points), np.float32)

    def search(start: int, stop: int) -> None:
        block = _unit(points[start:stop]) if spherical else points[start:stop]
        labels[start:stop], squared[start:stop] = nearest(block, centroids)
        release(points)

    for_each_block(search, row_blocks(len(points), SEARCH_ROWS), n_workers=cores())
    return labels, squared


def _means(
    points: FloatArray,
    labels: IntArray,
    squared: FloatArray,
    centroids: FloatArray,
    spherical: bool,
) -> FloatArray:
    """Return the mean of each cluster; an empty one moves to a point far from its centroid."""
    k = len(centroids)
    sums = np.zeros(centroids.shape, np.float64)
    for start, stop in row_blocks(len(points), BLOCK_ROWS):
        block = _unit(points[start:stop]) if spherical else points[start:stop]
        ones = np.ones(stop - start, np.float64)
        members = sparse.csc_matrix(
            (ones, labels[start:stop], np.arange(stop - start + 1)), shape=(k, stop - start)
        )
        sums += members @ block.astype(np.float64)
    sizes = np.bincount(labels, minlength=k)
    means = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(sizes == 0)
    means[empty] = centroids[empty]
    far = _furthest(squared, len(empty))
    means[empty[: len(far)]] = points[far]
    return _unit(means) if spherical else means


def _furthest(squared: FloatArray, n: int) -> IntArray:
    """Return up to ``n`` rows of the largest distances above 0, equal ones by row."""
    if n == 0:
        return np.empty(0, np.int64)
    bound = np.partition(squared, len(squared) - n)[len(squared) - n]
    rows = np.flatnonzero((squared >= bound) & (squared > 0))
    return rows[np.argsort(-squared[rows], kind="stable")[:n]]


def _plus_plus(points: FloatArray, k: int, seed: int, run: int, spherical: bool) -> FloatArray:
    """Draw k-means++ centroids from a sample of the points."""
    from sklearn.cluster import kmeans_plusplus

    n_rows = max(SEEDING_ROWS, min(256 * k, MOST_SEEDING_ROWS), k)
    sample = _sample(points, n_rows, seed, "graph.kmeans.sample", run)
    draws = derive_seed(seed, "graph.kmeans.plusplus", run) % (1 << 32)
    with one_blas_thread():
        centroids, _ = kmeans_plusplus(
            _unit(sample) if spherical else sample, k, random_state=draws
        )
    return np.ascontiguousarray(centroids, dtype=np.float32)


def _sample(points: FloatArray, n_rows: int, seed: int, name: str, run: int) -> FloatArray:
    """Copy at most ``n_rows`` random rows, in their order."""
    if n_rows >= len(points):
        return points
    chosen = stream(seed, name, run).choice(len(points), n_rows, replace=False, shuffle=False)
    return points[np.sort(chosen)]


def _unit(rows: FloatArray) -> FloatArray:
    """Return rows scaled to unit length; rows of zeros stay."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    norms[norms == 0] = 1
    return np.asarray(rows / norms[:, None], dtype=np.float32)
