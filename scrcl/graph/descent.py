"""pynndescent: neighbours of neighbours, until they change no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import derive_seed
from scrcl.graph.ranked import sort_by_distance

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["DescentSearcher"]

FIRST_EPSILON = 0.1
MOST_EPSILON = 1.0


class DescentSearcher:
    """Searches the graph that pynndescent builds; the first search compiles for up to a minute.

    Its threads share their candidates, so results differ from run to run where there are several.
    Memory: about ten times the points.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims), which is copied.
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
        self._epsilon = FIRST_EPSILON

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return up to ``k`` near points of each query; see `scrcl.graph.index.IvfSearcher.search`."""
        ids, squared = self._index.query(queries, k=k, epsilon=self._epsilon)
        squared[ids < 0] = np.inf
        return sort_by_distance(ids, squared)

    def look_further(self) -> bool:
        """Search a wider fringe from now on; False where it is as wide as makes sense."""
        if self._epsilon >= MOST_EPSILON:
            return False
        self._epsilon = min(MOST_EPSILON, round(self._epsilon + 0.1, 1))
        return True

    def effort(self) -> dict[str, float]:
        """Return by how much the fringe is wider than the best found."""
        return {"epsilon": self._epsilon}
