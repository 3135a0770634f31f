"""How many clusters there are, from the cells alone.

Communities (Leiden, modularity) of two neighbour graphs laid over each other: one that training has
not touched, of the principal components or, for domains, of the places in the tissue, and that of the
embedding. Communities too small to be told from noise are not counted: those below a
share of the cells, or, where communities are many, of their mean size. Graphs are built on a
sample, so the work has a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import drawn_rows
from scrcl.engine.communities import leiden_of, neighbour_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrcl.engine.clusters.config import ClusterConfig
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["count_clusters"]

_SMALLEST_CELLS = 10

_SMALLEST_OF_MEAN = 0.3
"""Share of the mean community; below ``smallest_share`` from some 15 communities on, so K has no bound."""


def count_clusters(
    spaces: Sequence[FloatArray],
    *,
    n_neighbors: int,
    config: ClusterConfig,
    seed: int,
    tissue: Callable[[IntArray], Csr] | None = None,
) -> int:
    """Return the number of communities that hold a fair share of the cells, at least 2.

    Parameters
    ----------
    spaces
        Arrays or memory maps of float32, shape (n_cells, n_dims), one row a cell in each.
    n_neighbors
        Neighbours of a cell in each graph.
    config
        ``resolution``, ``smallest_share`` and ``auto_cells`` are read.
    tissue
        From cells, ascending, to the graph of those of them that are near each other in the tissue.
    """
    cells = drawn_rows(len(spaces[0]), config.auto_cells, seed, "count.sample")
    graph = sum(neighbour_graph(space[cells], n_neighbors, seed) for space in spaces)
    if tissue is not None:
        graph = graph + tissue(cells)
    communities = leiden_of(graph, seed=seed, name="count.leiden")
    sizes = np.bincount(communities(config.resolution))
    return max(_fair(sizes, config.smallest_share), 2)


def _fair(sizes: IntArray, smallest_share: float) -> int:
    """Return how many communities are large enough to count."""
    n_cells, seen = int(sizes.sum()), sizes[sizes >= _SMALLEST_CELLS]
    share = min(smallest_share, _SMALLEST_OF_MEAN / max(len(seen), 1))
    return int((seen >= share * n_cells).sum())
