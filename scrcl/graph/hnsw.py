"""Search by the layered neighbour graphs of FAISS (HNSW)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.graph.faiss_library import ADD_ROWS, load_faiss
from scrcl.graph.ranked import sort_by_distance
from scrcl.io.arrays import row_blocks

if TYPE_CHECKING:
    from typing import Self

    from scrcl.graph.searcher import SearchTask
    from scrcl.typing import FloatArray, IntArray

__all__ = ["HnswSearcher"]

_LINKS = 16
_BUILD_WIDTH = 64
_FIRST_WIDTH = 16


class HnswSearcher:
    """Walks through layers of neighbour graphs towards each query.

    Many threads build the graphs, and the result depends on their timing, so results differ between runs unless there
    is one thread. Memory: ``n_points * (4 * n_dims + 4 * 2 * links + 8)`` bytes or more, with 16 links.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), added in blocks.

    References
    ----------
    Malkov, Yashunin: Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
    graphs. IEEE TPAMI 42 (2020).
    """

    name = "hnsw"
    has_threads = True
    order = None

    def __init__(self, points: FloatArray) -> None:
        index = load_faiss().IndexHNSWFlat(points.shape[1], _LINKS)
        index.hnsw.efConstruction = _BUILD_WIDTH
        for start, stop in row_blocks(len(points), ADD_ROWS):
            index.add(points[start:stop])
        self._index, self._n_points, self._width = index, len(points), _FIRST_WIDTH

    @classmethod
    def make(cls, points: FloatArray, task: SearchTask) -> Self:
        """Return a searcher; it needs nothing of the task."""
        del task
        return cls(points)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; see `scrcl.graph.ivf.IvfSearcher.search`."""
        self._index.hnsw.efSearch = max(self._width, k)
        squared, ids = self._index.search(queries, k)
        squared[ids < 0] = np.inf
        return sort_by_distance(ids, squared)

    def widen(self) -> bool:
        """Keep half as many candidates more on the way. False if all points are candidates."""
        if self._width >= self._n_points:
            return False
        self._width += self._width // 2
        return True

    def effort(self) -> dict[str, float]:
        """Return the number of candidates that a search keeps on its way."""
        return {"width": self._width}
