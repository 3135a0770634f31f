"""How many clusters there are, from the cells alone.

Communities (Leiden, modularity) of two neighbour graphs laid over each other: that of the principal
components, which training has not touched, and that of the embedding. Communities too small to
be told from noise are not counted. Both graphs are built on a sample, so the work has a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.engine.config import ClusterConfig
    from scrcl.typing import Csr, FloatArray

__all__ = ["count_clusters"]

_SMALLEST_CELLS = 10


def count_clusters(
    spaces: Sequence[FloatArray], *, n_neighbors: int, config: ClusterConfig, seed: int
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
    """
    n_cells = len(spaces[0])
    cells = np.arange(n_cells)
    if n_cells > config.auto_cells:
        drawn = stream(seed, "count.sample").choice(n_cells, config.auto_cells, replace=False)
        cells = np.sort(drawn)
    graph = sum(_neighbour_graph(space[cells], n_neighbors, seed) for space in spaces)
    sizes = np.bincount(_communities(graph, config.resolution, seed))
    smallest = max(_SMALLEST_CELLS, config.smallest_share * len(cells))
    return max(int((sizes >= smallest).sum()), 2)


def _neighbour_graph(points: FloatArray, n_neighbors: int, seed: int) -> Csr:
    from scrcl.graph.csr import connectivities, symmetric_graph
    from scrcl.graph.knn import knn

    k = min(n_neighbors, len(points) - 1)
    return connectivities(symmetric_graph(knn(np.asarray(points), k, seed=seed).ids))


def _communities(graph: Csr, resolution: float, seed: int) -> list[int]:
    """Labels from Leiden; edges weigh as many graphs as hold them."""
    import random

    import igraph
    from scipy.sparse import triu

    upper = triu(graph, k=1, format="coo")
    network = igraph.Graph(
        n=graph.shape[0], edges=np.column_stack([upper.row, upper.col]), directed=False
    )
    # igraph draws from the generator it is handed; its own default is not seeded.
    igraph.set_random_number_generator(random.Random(derive_seed(seed, "count.leiden")))  # noqa: S311
    try:
        found = network.community_leiden(
            "modularity", weights=upper.data.tolist(), resolution=resolution, n_iterations=-1
        )
    finally:
        igraph.set_random_number_generator(random)
    labels: list[int] = found.membership
    return labels
