"""Search by pynndescent, which improves a random graph through neighbours of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import derive_seed
from scrcl.graph.ranked import sort_by_distance

if TYPE_CHECKING:
    from typing import Self

    from scrcl.graph.searcher import SearchTask
    from scrcl.typing import FloatArray, IntArray

__all__ = ["DescentSearcher"]

_FIRST_EPSILON = 0.1
_MOST_EPSILON = 1.0


class DescentSearcher:
    """Searches the graph that pynndescent builds. The first search compiles for up to a minute.

    Its threads share their candidates, so results differ between runs unless there is one thread. Memory: about ten
    times the points.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims); copied.
    k
        Number of neighbours that searches will ask for.
    seed
        Root of the random stream.

    References
    ----------
    Dong, Moses, Li: Efficient k-nearest neighbor graph construction for generic similarity measures. WWW 2011.
    """

    name = "pynndescent"
    has_threads = True
    order = None

    def __init__(self, points: FloatArray, k: int, *, seed: int) -> None:
        from pynndescent import NNDescent

        self._index: Any = NNDescent(
            np.array(points),
            n_neighbors=min(max(2 * k, 30), len(points) - 1),
            metric="sqeuclidean",
            random_state=derive_seed(seed, "graph.knn.descent") % (1 << 31),
        )
        self._index.prepare()
        self._epsilon = _FIRST_EPSILON

    @classmethod
    def make(cls, points: FloatArray, task: SearchTask) -> Self:
        """Return a searcher for the task's number of neighbours."""
        return cls(points, task.k, seed=task.seed)

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; see `scrcl.graph.ivf.IvfSearcher.search`."""
        ids, squared = self._index.query(queries, k=k, epsilon=self._epsilon)
        squared[ids < 0] = np.inf
        return sort_by_distance(ids, squared)

    def widen(self) -> bool:
        """Follow candidates at larger distances from now on. False at the largest useful distance."""
        if self._epsilon >= _MOST_EPSILON:
            return False
        self._epsilon = min(_MOST_EPSILON, round(self._epsilon + 0.1, 1))
        return True

    def effort(self) -> dict[str, float]:
        """Return epsilon: candidates are followed up to ``1 + epsilon`` times the k-th best distance."""
        return {"epsilon": self._epsilon}
