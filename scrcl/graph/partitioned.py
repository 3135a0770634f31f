"""Search inside the lists of a partition, by matrix products.

Each query visits the lists of the nearest centroids. Queries come in groups that lie together, so that a
list is compared with hundreds of them at once, which runs at the arithmetic rate of the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.graph.centroids import CentroidSearch
from scrcl.graph.partition import write_in_order
from scrcl.graph.products import half_norms, least_products, measured, visits_of
from scrcl.graph.ranked import sort_by_distance
from scrcl.io.arrays import SMALL_MAP_BYTES, release, row_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.graph.partition import Partition
    from scrcl.typing import FloatArray, IntArray

__all__ = ["PartitionedSearcher"]

FIRST_VISITS = 4
PHASES = (1, 4)
"""Visits before the second round of lists, and before the third."""
SPARE = 3
"""Candidates beyond ``k``: as many may be misplaced by the rounding of products."""
NORM_ROWS = 65_536


class PartitionedSearcher:
    """Compares each query with the points of the few lists nearest to it.

    Points are read from a copy in the order of the partition, a neighbourhood at a time.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    lists
        A partition of the points.
    folder
        Where the copy is written, ``ordered.npy``, and read through a memory map: memory is then 12
        bytes a point and what is in flight. Without it the copy is in memory.
    """

    name = "partitioned"
    has_threads = False

    def __init__(self, points: FloatArray, lists: Partition, *, folder: Path | None = None) -> None:
        self._near = CentroidSearch(lists.centroids, lists.groups)
        self.order = np.asarray(lists.order)
        self._points = (
            points[self.order] - self._near.centre
            if folder is None
            else write_in_order(points, self.order, self._near.centre, folder / "ordered.npy")
        )
        self._starts = np.asarray(lists.starts, np.int64)
        self._halves = np.empty(len(points), np.float32)
        for start, stop in row_blocks(len(points), NORM_ROWS):
            self._halves[start:stop] = half_norms(self._points[start:stop])
            release(self._points)
        self._n_visits = min(FIRST_VISITS, lists.n_lists)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; where lists hold fewer, -1 and infinity.

        Returns
        -------
        ids, squared
            ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k),
            ascending.
        """
        moved = queries - self._near.centre
        with one_blas_thread():
            lists = self._near.lists(moved, self._n_visits)
            found = None
            # The nearest lists first: what they leave to the others is little, and soon scanned.
            for visited in np.split(lists, PHASES, axis=1):
                visitors, visits = visits_of(visited, self._near.n_lists)
                found = least_products(
                    moved,
                    self._points,
                    self._halves,
                    k + SPARE,
                    starts=self._starts,
                    visitors=visitors,
                    visits=visits,
                    known=found,
                )
        assert found is not None
        places = found.rows
        squared = measured(moved, self._points, places)
        release(self._points, above=SMALL_MAP_BYTES)
        ids, squared = sort_by_distance(np.where(places < 0, -1, self.order[places]), squared)
        return ids[:, :k], squared[:, :k]

    def look_further(self) -> bool:
        """Visit a tenth more lists from now on; False where all are visited."""
        if self._n_visits == self._near.n_lists:
            return False
        self._n_visits = min(self._near.n_lists, self._n_visits + max(1, self._n_visits // 10))
        return True

    def effort(self) -> dict[str, float]:
        """Return the number of lists, and of those that are searched."""
        return {"lists": self._near.n_lists, "lists_searched": self._n_visits}
