"""FAISS: pair by pair, by inverted file (IVF-Flat) and by HNSW. The only module that imports it.

Determinism. FAISS computes distances either pair by pair, or through BLAS as ``|x|^2 + |y|^2 -
2xy``; which one depends on the number of queries, and from when on, on its version. The BLAS form
loses digits (two equal points get a distance above 0) and its bits may change with the number of
BLAS threads. Here FAISS is kept on the pairwise form: each distance is one fixed-order sum and each
query is served by one thread, so results do not depend on how many threads there are. That costs
nothing against tens of centroids, and against thousands about three times BLAS's time (200,000
points, 4,096 centroids, 50 dimensions, one core: 4.2 s and 1.3 s). On a GPU (where the installed
FAISS has one) kernels are FAISS's own and this promise does not hold; that path has not been
measured.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import MissingDependencyError
from scrcl.graph.ranked import sort_by_distance
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.typing import FloatArray, IntArray

__all__ = ["HnswSearcher", "IvfSearcher", "on_gpu", "pairwise"]

BASE_ROWS = 16_384
"""Rows scanned for all queries before the next: a few MB, so that they stay in the cache."""
ADD_ROWS = 262_144
FIRST_PROBES = 2
MOST_GPU_PROBES = 2_048
NEVER = 1 << 30
HNSW_LINKS = 16
HNSW_BUILD_WIDTH = 64
HNSW_FIRST_WIDTH = 16

_lock = Lock()


def load_faiss() -> Any:
    """Return the module ``faiss``.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        msg = (
            "faiss must be installed to search for neighbours; got no module of that name. "
            "Run `pip install scrcl[cpu]`, or `pip install scrcl[gpu]` for NVIDIA GPUs."
        )
        raise MissingDependencyError(msg) from error
    return faiss


@contextmanager
def pairwise_distances(faiss: Any) -> Iterator[None]:
    """Keep FAISS off BLAS inside the block, which one thread enters at a time."""
    with _lock:
        before = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = NEVER
        try:
            yield
        finally:
            faiss.cvar.distance_compute_blas_threshold = before


def pairwise(queries: FloatArray, points: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Compare each query with every point, pair by pair; of equally near ones the lowest ids.

    Returns
    -------
    ids, squared
        ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k),
        ascending.
    """
    faiss = load_faiss()
    ids: IntArray = np.empty((len(queries), 0), np.int64)
    squared: FloatArray = np.empty((len(queries), 0), np.float32)
    for start, stop in row_blocks(len(points), BASE_ROWS):
        block = points[start:stop]
        with pairwise_distances(faiss):
            near, where = faiss.knn(queries, block, min(k, len(block)))
        ids, squared = sort_by_distance(
            np.concatenate([ids, where + start], axis=1),
            np.concatenate([squared, near], axis=1),
        )
        ids, squared = ids[:, :k], squared[:, :k]
        release(points)
    return ids, squared


class IvfSearcher:
    """Compares each query with the points of the few lists nearest to it.

    The index holds a copy of the points: ``n_points * (4 * n_dims + 8)`` bytes in memory.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), added in blocks.
    centroids
        ndarray of float32, shape (n_lists, n_dims): the coarse quantiser. It is given, not trained
        by FAISS, so that the lists are a function of the seed alone.
    device
        ``cuda`` or ``cuda:N`` searches on that GPU where FAISS is a GPU build, else on the CPU.
    """

    name = "ivf"
    has_threads = True
    order = None

    def __init__(self, points: FloatArray, centroids: FloatArray, *, device: str = "cpu") -> None:
        self._faiss = load_faiss()
        self._n_lists, n_dims = centroids.shape
        self._quantiser = self._faiss.IndexFlatL2(n_dims)
        self._quantiser.add(centroids)
        self._n_probes = min(FIRST_PROBES, self._n_lists)
        there = on_gpu(device)
        self._most_probes = min(self._n_lists, MOST_GPU_PROBES) if there else self._n_lists
        index = self._faiss.IndexIVFFlat(self._quantiser, n_dims, self._n_lists)
        index.is_trained = True
        with pairwise_distances(self._faiss):
            for start, stop in row_blocks(len(points), ADD_ROWS):
                index.add(points[start:stop])
        self._index = _to_gpu(self._faiss, index, device) if there else index

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; where lists hold fewer, -1 and infinity.

        Returns
        -------
        ids, squared
            ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k),
            ascending.
        """
        self._index.nprobe = self._n_probes
        with pairwise_distances(self._faiss):
            squared, ids = self._index.search(queries, k)
        squared[ids < 0] = np.inf
        return sort_by_distance(ids, squared)

    def look_further(self) -> bool:
        """Search half as many lists again from now on; False where no more can be searched."""
        if self._n_probes == self._most_probes:
            return False
        self._n_probes = min(self._most_probes, self._n_probes + max(1, self._n_probes // 2))
        return True

    def effort(self) -> dict[str, float]:
        """Return the number of lists, and of those that are searched."""
        return {"lists": self._n_lists, "lists_searched": self._n_probes}


class HnswSearcher:
    """Walks a hierarchy of neighbour graphs (HNSW) towards each query.

    Built by many threads, the graph depends on which of them comes first: results differ from run to
    run, but with one thread. Memory: ``n_points * (4 * n_dims + 4 * 2 * LINKS + 8)`` bytes and more.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), added in blocks.
    """

    name = "hnsw"
    has_threads = True
    order = None

    def __init__(self, points: FloatArray) -> None:
        index = load_faiss().IndexHNSWFlat(points.shape[1], HNSW_LINKS)
        index.hnsw.efConstruction = HNSW_BUILD_WIDTH
        for start, stop in row_blocks(len(points), ADD_ROWS):
            index.add(points[start:stop])
        self._index, self._n_points, self._width = index, len(points), HNSW_FIRST_WIDTH

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; see `IvfSearcher.search`."""
        self._index.hnsw.efSearch = max(self._width, k)
        squared, ids = self._index.search(queries, k)
        squared[ids < 0] = np.inf
        return sort_by_distance(ids, squared)

    def look_further(self) -> bool:
        """Keep half as many more candidates on the way; False once they are all points."""
        if self._width >= self._n_points:
            return False
        self._width += self._width // 2
        return True

    def effort(self) -> dict[str, float]:
        """Return the width of the search."""
        return {"width": self._width}


def on_gpu(device: str) -> bool:
    """Whether ``device`` is a GPU and the FAISS that is installed can search there."""
    return device.startswith("cuda") and load_faiss().get_num_gpus() > 0


def _to_gpu(faiss: Any, index: Any, device: str) -> Any:
    """Copy ``index`` to a GPU."""
    number = int(device.partition(":")[2] or 0)
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, index)
