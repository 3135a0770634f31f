"""Points in lists around centroids: what search, storage order and batches share.

Centroids are k-means means of a sample, themselves put into groups, so that the nearest of thousands are
found among those of a few groups. Lists stand in the order of a walk along the minimum spanning tree of the
groups, and of the centroids within each: what lies together in space lies together in the order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl._contract import Artifact
from scrcl._random import stream
from scrcl.errors import InputError, StoreError
from scrcl.graph.centroids import CentroidSearch
from scrcl.graph.kmeans import kmeans
from scrcl.graph.walk import walk
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

__all__ = ["LIST_ROWS", "PARTITION", "Partition", "coarse_centroids", "partition", "write_in_order"]

LIST_ROWS = 512
"""Points of a list, in the mean. Larger lists need more comparisons for the same recall, smaller ones more
centroids and smaller matrix products: at a million points 256 and 1,024 took 10 to 20 percent longer."""
GROUP_LISTS = 64
"""Lists of a group, in the mean."""
ASSIGN_ROWS = 16_384
SAMPLE_ROWS_PER_LIST = 24
SAMPLE_MOST_ROWS = 262_144
TRAINING_ITERATIONS = 6
COPY_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Partition:
    """Every point in one list; lists in groups, both in the order of a walk over their centroids."""

    centroids: NDArray[np.float32]
    """shape (n_lists, n_dims)"""
    groups: NDArray[np.int64]
    """shape (n_groups + 1,): group ``i`` is lists ``groups[i]`` to ``groups[i + 1]``"""
    order: NDArray[np.int64]
    """shape (n_points,): the points of the first list, ascending, then those of the second, ..."""
    starts: NDArray[np.int64]
    """shape (n_lists + 1,): list ``i`` is ``order[starts[i]:starts[i + 1]]``"""

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return len(self.starts) - 1

    def save(self, folder: Path) -> None:
        """Write each array as an ``.npy`` file into a folder, whole or absent."""
        with atomic_folder(folder) as partial:
            for field in fields(self):
                np.save(partial / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> Partition:
        """Open a saved partition; the order stays on disk.

        Raises
        ------
        StoreError
            When a file is missing or damaged.
        """
        try:
            return cls(*(np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(cls)))
        except (OSError, ValueError, EOFError) as error:
            message = (
                f"{folder} must hold a partition; got {type(error).__name__}: {error}. "
                "Build it again."
            )
            raise StoreError(message) from error


PARTITION = Artifact("partition", lambda folder: Partition.load(folder / "partition"))
"""The cells in lists, and so in an order that keeps similar cells together."""


def partition(
    points: FloatArray, *, seed: int, list_rows: int = LIST_ROWS, n_workers: int | None = None
) -> Partition:
    """Cut points into lists of about ``list_rows`` around k-means centroids of a sample.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), read in blocks.
    seed
        Root of the random streams. The result is a function of the points and the seed.
    list_rows
        Points of a list, in the mean. Equal points are never parted, so a list may be longer.
    n_workers
        Threads; one for each core where None.

    Returns
    -------
    Partition
        ``8 * n_points`` bytes.

    Raises
    ------
    InputError
        When a value is not finite, there is no point, or ``list_rows`` is below 1.
    """
    points = as_points(points)
    if not len(points) or list_rows < 1:
        msg = (
            f"list_rows and points must be at least 1; got {list_rows} and {len(points)}. "
            "Give points, and the size of a list."
        )
        raise InputError(msg)
    require_finite(points)
    centroids, groups = _grouped(
        coarse_centroids(points, max(1, round(len(points) / list_rows)), seed=seed), seed
    )
    near = CentroidSearch(centroids, groups)
    labels = np.empty(len(points), index_dtype(len(centroids)))

    def assign_rows(start: int, stop: int) -> None:
        labels[start:stop] = near.lists(points[start:stop] - near.centre, 1)[:, 0]
        release(points)

    for_each_block(
        assign_rows, row_blocks(len(points), ASSIGN_ROWS), n_workers=n_workers or cores()
    )
    order = np.argsort(labels, kind="stable")
    return Partition(
        centroids, groups, order, row_starts(np.bincount(labels, minlength=len(centroids)))
    )


def _grouped(
    centroids: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put centroids into groups; return them in the order of the walk, and where groups begin."""
    n_groups = max(1, len(centroids) // GROUP_LISTS)
    start = centroids[:: max(len(centroids) // n_groups, 1)][:n_groups]
    found = kmeans(centroids, n_groups, seed=seed, init=start, n_iter=TRAINING_ITERATIONS)
    members = [np.flatnonzero(found.labels == group) for group in walk(found.centroids)]
    members = [lists[walk(centroids[lists])] for lists in members if len(lists)]
    order: IntArray = np.concatenate(members)
    return centroids[order], row_starts(np.array([len(lists) for lists in members]))


def write_in_order(
    points: FloatArray, order: NDArray[np.int64], centre: FloatArray, out: Path
) -> FloatArray:
    """Write ``points`` less ``centre``, in an order, into an ``.npy`` file; open it as a memory map."""
    with RowWriter(out, len(order), points.shape[1]) as writer:
        for start, stop in row_blocks(len(order), COPY_ROWS):
            writer.write(start, points[order[start:stop]] - centre)
            release(points)
    return as_points(np.load(out, mmap_mode="r"))


def coarse_centroids(points: FloatArray, n_lists: int, *, seed: int) -> NDArray[np.float32]:
    """Return the means that k-means finds on a sample: float32, shape (n_lists, n_dims)."""
    random = stream(seed, "graph.partition")
    n_rows = max(n_lists, min(len(points), n_lists * SAMPLE_ROWS_PER_LIST, SAMPLE_MOST_ROWS))
    sample = points[np.sort(random.choice(len(points), n_rows, replace=False, shuffle=False))]
    release(points)
    start = sample[np.sort(random.choice(n_rows, n_lists, replace=False, shuffle=False))]
    return kmeans(sample, n_lists, seed=seed, init=start, n_iter=TRAINING_ITERATIONS).centroids
