"""Divide points into the lists of a partition.

Centroids are the k-means means of a sample. They are themselves in groups, so the nearest of thousands can be found
among those of a few groups. Groups are ordered by a walk along the minimum spanning tree of their means, and so are
the centroids in each group. Thus points that are near each other are near in the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import stream
from scrcl.errors import InputError
from scrcl.graph.centroids import CentroidSearch
from scrcl.graph.kmeans import kmeans
from scrcl.graph.kmeans_passes import CpuPasses
from scrcl.graph.partition import Partition
from scrcl.graph.walk import walk_order
from scrcl.io.arrays import (
    SMALL_MAP_BYTES,
    as_points,
    cores,
    for_each_block,
    gathered,
    index_dtype,
    release,
    require_finite,
    row_blocks,
    row_starts,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["coarse_centroids", "partition"]

_LIST_ROWS = 512
"""Mean number of points in a list. Larger lists need more comparisons for the same recall. Smaller lists need more
centroids and smaller matrix products. At a million points, 256 and 1,024 took 10 to 20 percent longer."""
_GROUP_LISTS = 64
"""Mean number of lists in a group."""
_ASSIGN_ROWS = 16_384
_SAMPLE_ROWS_PER_LIST = 24
_MOST_SAMPLE_ROWS = 262_144
_TRAINING_ITERATIONS = 6
_REFINEMENTS = 2
"""Passes over all points where the sample has too few for each list. Of ten million points it has 13 for each, and a
list held from 1 to 5,591 points. After two passes it held 27 to 1,739, and with as many comparisons a search found .76
of the neighbours in place of .70 (``bench/results/scale``)."""
_SMALL_LIST = 1 / 8
"""Lists smaller than this share of the mean give their centroid to a large one."""


def partition(
    points: FloatArray, *, seed: int, list_rows: int = _LIST_ROWS, n_workers: int | None = None
) -> Partition:
    """Divide points into lists of about ``list_rows`` points around k-means centroids of a sample.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks.
    seed
        Root of the random streams. The result is a function of the points and the seed.
    list_rows
        Mean number of points in a list. Equal points are always in one list, so a list may be longer.
    n_workers
        Threads; one per core if None.

    Returns
    -------
    Partition
        ``8 * n_points`` bytes.

    Raises
    ------
    InputError
        A value is not finite, there are no points, or ``list_rows`` is below 1.
    """
    points = as_points(points)
    if not len(points) or list_rows < 1:
        message = (
            f"list_rows and points must be at least 1; got {list_rows} and {len(points)}. "
            "Give points, and a list size of 1 or more."
        )
        raise InputError(message)
    require_finite(points)
    n_lists = max(1, round(len(points) / list_rows))
    centroids, groups = _grouped(coarse_centroids(points, n_lists, seed=seed), seed)
    labels = _assigned(points, centroids, groups, n_workers)
    for number in range(_REFINEMENTS if n_lists * _SAMPLE_ROWS_PER_LIST > _MOST_SAMPLE_ROWS else 0):
        random = stream(seed, "graph.partition.refine", number)
        centroids, groups = _grouped(_refined(points, labels, n_lists, random), seed)
        labels = _assigned(points, centroids, groups, n_workers)
    order = np.argsort(labels, kind="stable")
    return Partition(centroids, groups, order, row_starts(np.bincount(labels, minlength=n_lists)))


def _assigned(
    points: FloatArray, centroids: FloatArray, groups: IntArray, n_workers: int | None
) -> NDArray[Any]:
    """Return the nearest centroid of each point."""
    search = CentroidSearch(centroids, groups)
    labels = np.empty(len(points), index_dtype(len(centroids)))

    def assign_rows(start: int, stop: int) -> None:
        labels[start:stop] = search.nearest_lists(points[start:stop] - search.centre, 1)[:, 0]
        release(points)

    for_each_block(
        assign_rows, row_blocks(len(points), _ASSIGN_ROWS), n_workers=n_workers or cores()
    )
    return labels


def _refined(
    points: FloatArray, labels: IntArray, n_lists: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return the mean of all points of each list; small lists take over a part of a large one."""
    sizes = np.bincount(labels, minlength=n_lists)
    sums = CpuPasses(points, spherical=False).sums(labels, n_lists)
    centroids = np.asarray(sums / np.maximum(sizes, 1)[:, None], dtype=np.float32)
    mean_size = len(points) / n_lists
    small = np.flatnonzero(sizes < _SMALL_LIST * mean_size)
    # A list of four times the mean size is divided among three small ones and itself, the largest list first.
    large = np.argsort(-sizes, kind="stable")
    divided = np.repeat(large, np.maximum(np.rint(sizes[large] / mean_size).astype(int) - 1, 0))
    small, divided = small[: len(divided)], divided[: len(small)]
    members, starts = np.argsort(labels, kind="stable"), row_starts(sizes)
    drawn = members[starts[divided] + random.integers(sizes[divided])]
    # Halfway to a point: near it alone, a centroid would draw few others.
    part = gathered(points, drawn, above=SMALL_MAP_BYTES)
    centroids[small] = (part + centroids[divided]) / 2
    return centroids


def _grouped(
    centroids: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return centroids in the order of the walk, group by group, and the first of each group."""
    n_groups = max(1, len(centroids) // _GROUP_LISTS)
    start = centroids[:: max(len(centroids) // n_groups, 1)][:n_groups]
    found = kmeans(centroids, n_groups, seed=seed, init=start, n_iter=_TRAINING_ITERATIONS)
    members = [np.flatnonzero(found.labels == group) for group in walk_order(found.centroids)]
    members = [lists[walk_order(centroids[lists])] for lists in members if len(lists)]
    order: IntArray = np.concatenate(members)
    return centroids[order], row_starts(np.array([len(lists) for lists in members]))


def coarse_centroids(points: FloatArray, n_lists: int, *, seed: int) -> NDArray[np.float32]:
    """Return k-means means of a sample: float32, shape (n_lists, n_dims)."""
    random = stream(seed, "graph.partition")
    n_rows = max(n_lists, min(len(points), n_lists * _SAMPLE_ROWS_PER_LIST, _MOST_SAMPLE_ROWS))
    rows = np.sort(random.choice(len(points), n_rows, replace=False, shuffle=False))
    sample = gathered(points, rows, above=SMALL_MAP_BYTES)
    start = sample[np.sort(random.choice(n_rows, n_lists, replace=False, shuffle=False))]
    return kmeans(sample, n_lists, seed=seed, init=start, n_iter=_TRAINING_ITERATIONS).centroids
