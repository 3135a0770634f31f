"""The FAISS library, kept to results that do not depend on threads. `ivf` and `hnsw` build their indexes with it.

FAISS computes distances in one of two ways: pair by pair, or by BLAS as ``|x|^2 + |y|^2 - 2xy``. It chooses by the
number of queries, with a threshold that differs between versions. The BLAS form loses digits: two equal points get a
distance above 0. Its bits can also change with the number of BLAS threads. So FAISS is kept to the pairwise form here.
There each distance is a sum in a fixed order and each query is served by one thread. This costs nothing against tens
of centroids. Against thousands it takes about three times as long as BLAS (200,000 points, 4,096 centroids, 50
dimensions, one core: 4.2 s and 1.3 s).

On a GPU the kernels are those of FAISS, and nothing is promised about their bits.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import MissingDependencyError
from scrcl.graph.ranked import nearest_of_both
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.typing import FloatArray, IntArray

__all__ = ["ADD_ROWS", "load_faiss", "on_gpu", "pairwise", "pairwise_distances", "to_gpu"]

ADD_ROWS = 262_144
"""Rows added to an index at a time: the index copies them, so a larger block would be held twice."""

_BASE_ROWS = 16_384
"""Rows compared with all queries before the next ones: a few MB, which stay in the cache."""
_NEVER = 1 << 30
"""More queries than any call has, so FAISS never turns to BLAS."""

# The threshold is a global variable of FAISS: two threads that change and restore it would undo each other.
_lock = Lock()


def load_faiss() -> Any:
    """Return the module ``faiss``.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        message = (
            "faiss must be installed to search for neighbours; got no module of that name. "
            "Run `pip install scrcl[cpu]`, or `pip install scrcl[gpu]` for NVIDIA GPUs."
        )
        raise MissingDependencyError(message) from error
    return faiss


@contextmanager
def pairwise_distances(faiss: Any) -> Iterator[None]:
    """Keep FAISS from using BLAS inside the block. One thread at a time enters it."""
    with _lock:
        before = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = _NEVER
        try:
            yield
        finally:
            faiss.cvar.distance_compute_blas_threshold = before


def pairwise(queries: FloatArray, points: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Return the ``k`` nearest points of each query, compared pair by pair.

    Returns
    -------
    ids, squared
        ndarrays of int64 and float32 (squared Euclidean distances), shape (n_queries, k), ascending. Equal distances
        are ordered by id.
    """
    faiss = load_faiss()
    ids: IntArray = np.empty((len(queries), 0), np.int64)
    squared: FloatArray = np.empty((len(queries), 0), np.float32)
    for start, stop in row_blocks(len(points), _BASE_ROWS):
        block = points[start:stop]
        with pairwise_distances(faiss):
            near, rows = faiss.knn(queries, block, min(k, len(block)))
        ids, squared = nearest_of_both(ids, squared, rows + start, near, k)
        release(points)
    return ids, squared


def on_gpu(device: str) -> bool:
    """Return whether ``device`` is a GPU and the installed FAISS can search on it."""
    return device.startswith("cuda") and load_faiss().get_num_gpus() > 0


def to_gpu(faiss: Any, index: Any, device: str) -> Any:
    """Return a copy of ``index`` on a GPU."""
    number = int(device.partition(":")[2] or 0)
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, index)
