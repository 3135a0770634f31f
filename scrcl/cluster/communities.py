"""Communities of a neighbour graph by Leiden (modularity), as igraph finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray

__all__ = ["leiden_of", "neighbour_graph"]


def neighbour_graph(points: FloatArray, n_neighbors: int, seed: int) -> Csr:
    """Return the binary symmetric graph of the nearest neighbours; fewer where there are fewer points."""
    from scrcl.graph.csr import connectivities, symmetric_graph
    from scrcl.graph.knn import knn

    k = min(n_neighbors, len(points) - 1)
    return connectivities(symmetric_graph(knn(np.asarray(points), k, seed=seed).ids))


def leiden_of(
    graph: Csr, *, seed: int, name: str, n_iterations: int = -1
) -> Callable[[float], NDArray[np.int64]]:
    """Return what finds the community of each node at a resolution; values of ``graph`` are weights.

    The same resolution gives the same communities; ``name`` is that of the random stream. Negative ``n_iterations``:
    until nothing moves.
    """
    import random

    import igraph
    from scipy.sparse import triu

    upper = triu(graph, k=1, format="coo")
    network = igraph.Graph(
        n=graph.shape[0], edges=np.column_stack([upper.row, upper.col]), directed=False
    )
    weights: list[Any] = upper.data.tolist()

    def communities(resolution: float) -> NDArray[np.int64]:
        # igraph draws from the generator it is handed; its own default is not seeded.
        igraph.set_random_number_generator(random.Random(derive_seed(seed, name)))  # noqa: S311
        try:
            found = network.community_leiden(
                "modularity", weights=weights, resolution=resolution, n_iterations=n_iterations
            )
        finally:
            igraph.set_random_number_generator(random)
        return np.asarray(found.membership, np.int64)

    return communities
