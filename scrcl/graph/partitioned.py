"""Search inside the lists of a partition, by matrix products.

Each query visits the lists whose centroids are nearest to it. Queries come in groups that are near each other, so one
list is compared with hundreds of queries at once. Such a product runs at the full arithmetic rate of the machine.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.errors import InputError
from scrcl.graph.centroids import CentroidSearch
from scrcl.graph.divide import partition
from scrcl.graph.partition import write_in_order
from scrcl.graph.products import half_norms, least_products, squared_distances, visits_of
from scrcl.graph.ranked import sort_by_distance
from scrcl.io.arrays import SMALL_MAP_BYTES, release, row_blocks
from scrcl.io.parts import row_groups

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from scrcl.graph.partition import Partition
    from scrcl.graph.searcher import SearchTask
    from scrcl.typing import FloatArray, IntArray

__all__ = ["PartitionedSearcher"]

_FIRST_VISITS = 4
_BOUNDED_VISITS = 32
"""Most lists of a bounded search, about 20,000 comparisons for a query. Cells of one type differ by noise in a hundred
dimensions. So among ten million cells hundreds are about as near as the nearest, and 200 lists held .95 of the true
neighbours. Those found in 32 lists were 1 percent farther away (``bench/results/scale``)."""
_PHASES = (1, 4)
"""Lists visited before the second round, and before the third."""
_SPARE = 3
"""Candidates beyond ``k``: rounding of products may misplace as many."""
_NORM_ROWS = 65_536
_MEASURED_ROWS = 2_048
"""Queries whose distances are measured before pages are released: their candidates are on thirty thousand pages."""


class PartitionedSearcher:
    """Compares each query with the points of the few lists nearest to it.

    It reads the points from a copy in the order of the partition, where the points of a list are contiguous.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    lists
        A partition of the points.
    folder
        Where the copy is written, as ``ordered.npy``, and read as a memory map. Memory is then 12 bytes per point and
        the loaded blocks. If None, the copy is in memory.
    bounded
        See `scrcl.graph.searcher.SearchTask`.
    """

    name = "partitioned"
    has_threads = False

    def __init__(
        self,
        points: FloatArray,
        lists: Partition,
        *,
        folder: Path | None = None,
        bounded: bool = False,
    ) -> None:
        self._centroids = CentroidSearch(lists.centroids, lists.groups)
        self.order = np.asarray(lists.order)
        self._points = (
            points[self.order] - self._centroids.centre
            if folder is None
            else write_in_order(points, self.order, self._centroids.centre, folder / "ordered.npy")
        )
        self._starts = np.asarray(lists.starts, np.int64)
        # Lists in parts: thousands of them are visited at once, and only the pages of a part are resident.
        rows_of_part = max(SMALL_MAP_BYTES // max(self._points[:1].nbytes, 1), 1)
        self._parts = list(pairwise(row_groups(self._starts, rows_of_part).tolist()))
        self._halves = np.empty(len(points), np.float32)
        for start, stop in row_blocks(len(points), _NORM_ROWS):
            self._halves[start:stop] = half_norms(self._points[start:stop])
            release(self._points)
        self._n_visits = min(_FIRST_VISITS, lists.n_lists)
        self._most_visits = min(_BOUNDED_VISITS, lists.n_lists) if bounded else lists.n_lists

    @classmethod
    def make(cls, points: FloatArray, task: SearchTask) -> Self:
        """Return a searcher by the task's partition, or by a new one."""
        lists = task.partition or partition(points, seed=task.seed, n_workers=task.n_workers)
        if len(lists.order) != len(points):
            message = (
                f"partition must be of the {len(points)} points; got one of {len(lists.order)}. "
                "Make it from the same points."
            )
            raise InputError(message)
        return cls(points, lists, folder=task.folder, bounded=task.bounded)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; -1 and infinity if the lists hold fewer.

        Returns
        -------
        ids, squared
            ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k), ascending.
        """
        centred = queries - self._centroids.centre
        with one_blas_thread():
            lists = self._centroids.nearest_lists(centred, self._n_visits)
            found = None
            # The nearest lists come first. They set a low bound, which few points of the later lists pass, and the
            # scan of a product that nothing passes is short.
            for visited in np.split(lists, _PHASES, axis=1):
                visitors, visits = visits_of(visited, self._centroids.n_lists)
                for first, last in self._parts:
                    found = least_products(
                        centred,
                        self._points,
                        self._halves,
                        k + _SPARE,
                        starts=self._starts[first : last + 1],
                        visitors=visitors[visits[first] : visits[last]],
                        visits=visits[first : last + 1] - visits[first],
                        known=found,
                    )
                    release(self._points, above=SMALL_MAP_BYTES)
        assert found is not None
        positions = found.rows
        squared = np.empty(positions.shape, np.float32)
        for start, stop in row_blocks(len(centred), _MEASURED_ROWS):
            squared[start:stop] = squared_distances(
                centred[start:stop], self._points, positions[start:stop]
            )
            release(self._points, above=SMALL_MAP_BYTES)
        ids, squared = sort_by_distance(np.where(positions < 0, -1, self.order[positions]), squared)
        return ids[:, :k], squared[:, :k]

    def widen(self) -> bool:
        """Visit a tenth more lists from now on. False if it visits all, or as many as it may."""
        if self._n_visits == self._most_visits:
            return False
        more = max(1, self._n_visits // 10)
        self._n_visits = min(self._most_visits, self._n_visits + more)
        return True

    def effort(self) -> dict[str, float]:
        """Return the number of lists, and how many are searched for a query."""
        return {"lists": self._centroids.n_lists, "lists_searched": self._n_visits}
