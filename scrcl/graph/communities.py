"""Communities of a neighbour graph: Leiden with modularity, computed by igraph."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["graph_of_neighbours", "large_communities", "leiden_of", "neighbour_graph"]

_MIN_CELLS = 10
"""Communities below this size are noise for any number of cells."""

_MIN_SHARE_OF_MEAN = 0.3
"""Smallest counted community, as a share of the mean size. With more than some 15 communities, this is below the
default of ``cluster.smallest_share``. A fixed share of all cells alone would bound the number of clusters."""


def neighbour_graph(points: FloatArray, n_neighbors: int, seed: int) -> Csr:
    """Return the binary symmetric graph of nearest neighbours; fewer neighbours if there are too few points."""
    from scrcl.graph.knn import knn

    k = min(n_neighbors, len(points) - 1)
    return graph_of_neighbours(knn(np.asarray(points), k, seed=seed).ids)


def graph_of_neighbours(ids: IntArray) -> Csr:
    """Return the binary symmetric graph of known neighbours: ndarray of int, shape (n_points, n_neighbors)."""
    from scrcl.graph.csr import connectivities, symmetric_graph

    return connectivities(symmetric_graph(ids))


def leiden_of(
    graph: Csr, *, seed: int, name: str, n_iterations: int = -1
) -> Callable[[float], NDArray[np.int64]]:
    """Return a function from a resolution to the community of each node.

    It can be called for many resolutions, and builds the igraph object only once. The same resolution always gives
    the same communities.

    Parameters
    ----------
    graph
        Symmetric; its values are the weights of edges.
    name
        Name of the random stream.
    n_iterations
        Passes of Leiden; a negative number repeats them until nothing changes.
    """
    import igraph
    from scipy.sparse import triu

    # igraph takes each undirected edge once, and pairs of Python numbers in a fifth of the time of an array.
    upper = triu(graph, k=1, format="coo")
    edges = zip(upper.row.tolist(), upper.col.tolist(), strict=True)
    network = igraph.Graph(n=graph.shape[0], edges=edges, directed=False)
    weights: list[Any] = upper.data.tolist()

    def communities(resolution: float) -> NDArray[np.int64]:
        # igraph has one generator for the whole process, by default Python's unseeded one. Set it for this call only.
        igraph.set_random_number_generator(random.Random(derive_seed(seed, name)))  # noqa: S311
        try:
            found = network.community_leiden(
                "modularity", weights=weights, resolution=resolution, n_iterations=n_iterations
            )
        finally:
            igraph.set_random_number_generator(random)
        return np.asarray(found.membership, np.int64)

    return communities


def large_communities(sizes: IntArray, smallest_share: float) -> IntArray:
    """Return the sizes of communities that are large enough to count as clusters.

    Parameters
    ----------
    sizes
        ndarray of int, shape (n_communities,): cells of each.
    smallest_share
        Smallest share of all cells. Less is enough if there are many communities.
    """
    n_cells, candidates = int(sizes.sum()), sizes[sizes >= _MIN_CELLS]
    share = min(smallest_share, _MIN_SHARE_OF_MEAN / max(len(candidates), 1))
    return candidates[candidates >= share * n_cells]
