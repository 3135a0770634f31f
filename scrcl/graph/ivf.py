"""Search by the inverted file of FAISS (IVF-Flat): points in lists around centroids, on the CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.graph.divide import coarse_centroids
from scrcl.graph.faiss_library import ADD_ROWS, load_faiss, on_gpu, pairwise_distances, to_gpu
from scrcl.graph.ranked import sort_by_distance
from scrcl.io.arrays import row_blocks

if TYPE_CHECKING:
    from typing import Self

    from scrcl.graph.searcher import SearchTask
    from scrcl.typing import FloatArray, IntArray

__all__ = ["IvfSearcher"]

_LEAST_LIST_ROWS = 40
_FIRST_PROBES = 2
_MOST_GPU_PROBES = 2_048
"""FAISS refuses more on a GPU."""


class IvfSearcher:
    """Compares each query with the points of the few lists nearest to it.

    The index holds a copy of the points: ``n_points * (4 * n_dims + 8)`` bytes in memory.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), added in blocks.
    centroids
        ndarray of float32, shape (n_lists, n_dims): the coarse quantiser. FAISS does not train it, so the lists are a
        function of the points and the seed.
    device
        ``cuda`` or ``cuda:N`` searches on that GPU if FAISS is a GPU build, else on the CPU.
    """

    name = "ivf"
    has_threads = True
    order = None

    def __init__(self, points: FloatArray, centroids: FloatArray, *, device: str = "cpu") -> None:
        self._faiss = load_faiss()
        self._n_lists, n_dims = centroids.shape
        self._quantiser = self._faiss.IndexFlatL2(n_dims)
        self._quantiser.add(centroids)
        self._n_probes = min(_FIRST_PROBES, self._n_lists)
        uses_gpu = on_gpu(device)
        self._most_probes = min(self._n_lists, _MOST_GPU_PROBES) if uses_gpu else self._n_lists
        index = self._faiss.IndexIVFFlat(self._quantiser, n_dims, self._n_lists)
        index.is_trained = True
        with pairwise_distances(self._faiss):
            for start, stop in row_blocks(len(points), ADD_ROWS):
                index.add(points[start:stop])
        self._index = to_gpu(self._faiss, index, device) if uses_gpu else index

    @classmethod
    def make(cls, points: FloatArray, task: SearchTask) -> Self:
        """Return a searcher with about ``2 * sqrt(n_points)`` lists."""
        most_lists = len(points) // _LEAST_LIST_ROWS
        n_lists = max(1, min(round(2 * np.sqrt(len(points))), most_lists))
        return cls(points, coarse_centroids(points, n_lists, seed=task.seed), device=task.device)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; -1 and infinity if the lists hold fewer.

        Returns
        -------
        ids, squared
            ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k), ascending.
        """
        self._index.nprobe = self._n_probes
        with pairwise_distances(self._faiss):
            squared, ids = self._index.search(queries, k)
        squared[ids < 0] = np.inf
        return sort_by_distance(ids, squared)

    def widen(self) -> bool:
        """Search half as many lists more from now on. False if all are searched."""
        if self._n_probes == self._most_probes:
            return False
        self._n_probes = min(self._most_probes, self._n_probes + max(1, self._n_probes // 2))
        return True

    def effort(self) -> dict[str, float]:
        """Return the number of lists, and how many are searched for a query."""
        return {"lists": self._n_lists, "lists_searched": self._n_probes}
