"""A partition of points into lists around centroids. Search, storage order and mini-batches share it.

Centroids are the k-means means of a sample. They are themselves in groups, so the nearest of thousands can be found
among those of a few groups. Groups are ordered by a walk along the minimum spanning tree of their means, and so are
the centroids in each group. Thus points that are near each other are near in the order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl._random import stream
from scrcl.errors import InputError, StoreError
from scrcl.graph.centroids import CentroidSearch
from scrcl.graph.kmeans import kmeans
from scrcl.graph.walk import walk_order
from scrcl.io.arrays import (
    RowWriter,
    as_points,
    cores,
    for_each_block,
    index_dtype,
    release,
    require_finite,
    row_blocks,
)
from scrcl.io.parts import row_starts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["Partition", "coarse_centroids", "partition", "write_in_order"]

_LIST_ROWS = 512
"""Mean number of points in a list. Larger lists need more comparisons for the same recall. Smaller lists need more
centroids and smaller matrix products. At a million points, 256 and 1,024 took 10 to 20 percent longer."""
_GROUP_LISTS = 64
"""Mean number of lists in a group."""
_ASSIGN_ROWS = 16_384
_SAMPLE_ROWS_PER_LIST = 24
_MOST_SAMPLE_ROWS = 262_144
_TRAINING_ITERATIONS = 6
_COPY_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Partition:
    """Partition lists: every point is in one list. Lists are in groups, and both are in the order of a walk."""

    centroids: NDArray[np.float32]
    """shape (n_lists, n_dims)"""
    groups: NDArray[np.int64]
    """shape (n_groups + 1,): group ``i`` is lists ``groups[i]`` to ``groups[i + 1]``"""
    order: NDArray[np.int64]
    """shape (n_points,): the points of the first list, ascending, then those of the second, and so on"""
    starts: NDArray[np.int64]
    """shape (n_lists + 1,): list ``i`` is ``order[starts[i]:starts[i + 1]]``"""

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return len(self.starts) - 1

    def save(self, folder: Path) -> None:
        """Write each array as an ``.npy`` file into a folder, which is complete or absent."""
        with atomic_folder(folder) as partial:
            for field in fields(self):
                np.save(partial / _file_of(field.name), getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> Partition:
        """Open a saved partition; its arrays are memory maps.

        Raises
        ------
        StoreError
            A file is missing or damaged.
        """
        try:
            files = [folder / _file_of(field.name) for field in fields(cls)]
            return cls(*(np.load(file, mmap_mode="r") for file in files))
        except Exception as error:
            message = (
                f"{folder} must hold a partition; got {type(error).__name__}: {error}. "
                "Build it again."
            )
            raise StoreError(message) from error


def _file_of(name: str) -> str:
    """Return the file of an array. ``order`` is renamed: its numbers are not rows of an input, as users may think."""
    return f"{'members' if name == 'order' else name}.npy"


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
    centroids, groups = _grouped(
        coarse_centroids(points, max(1, round(len(points) / list_rows)), seed=seed), seed
    )
    search = CentroidSearch(centroids, groups)
    labels = np.empty(len(points), index_dtype(len(centroids)))

    def assign_rows(start: int, stop: int) -> None:
        labels[start:stop] = search.nearest_lists(points[start:stop] - search.centre, 1)[:, 0]
        release(points)

    for_each_block(
        assign_rows, row_blocks(len(points), _ASSIGN_ROWS), n_workers=n_workers or cores()
    )
    order = np.argsort(labels, kind="stable")
    return Partition(
        centroids, groups, order, row_starts(np.bincount(labels, minlength=len(centroids)))
    )


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


def write_in_order(
    points: FloatArray, order: NDArray[np.int64], centre: FloatArray, out: Path
) -> FloatArray:
    """Write ``points[order] - centre`` to an ``.npy`` file, in blocks, and open it as a memory map."""
    with RowWriter(out, len(order), points.shape[1]) as writer:
        for start, stop in row_blocks(len(order), _COPY_ROWS):
            writer.write(start, points[order[start:stop]] - centre)
            release(points)
    return as_points(np.load(out, mmap_mode="r"))


def coarse_centroids(points: FloatArray, n_lists: int, *, seed: int) -> NDArray[np.float32]:
    """Return k-means means of a sample: float32, shape (n_lists, n_dims)."""
    random = stream(seed, "graph.partition")
    n_rows = max(n_lists, min(len(points), n_lists * _SAMPLE_ROWS_PER_LIST, _MOST_SAMPLE_ROWS))
    sample = points[np.sort(random.choice(len(points), n_rows, replace=False, shuffle=False))]
    release(points)
    start = sample[np.sort(random.choice(n_rows, n_lists, replace=False, shuffle=False))]
    return kmeans(sample, n_lists, seed=seed, init=start, n_iter=_TRAINING_ITERATIONS).centroids
