"""How many clusters there are, from the cells alone.

Communities (Leiden, modularity) of two neighbour graphs laid over each other: one that training has
not touched, of the principal components or, for domains, of the places in the tissue, and that of the
embedding. Communities too small to be told from noise are not counted: those below a
share of the cells, or, where communities are many, of their mean size. Graphs are built on a
sample, so the work has a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.communities import leiden_of, neighbour_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrcl.cluster.settings import ClusterConfig
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["Counted", "count_clusters"]

_SMALLEST_CELLS = 10

_SMALLEST_OF_MEAN = 0.3
"""Share of the mean community; below ``smallest_share`` from some 15 communities on, so K has no bound."""


_MOST_CELLS = 0.5
"""Share of the cells in counted communities under which the count is doubtful."""


class Counted(NamedTuple):
    """A number of clusters, and what the user should know of it."""

    n_clusters: int
    """at least 2"""
    note: str | None


def count_clusters(
    spaces: Sequence[FloatArray],
    *,
    n_neighbors: int,
    config: ClusterConfig,
    seed: int,
    tissue: Callable[[IntArray], Csr] | None = None,
) -> Counted:
    """Return the number of communities that hold a fair share of the cells.

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
    counted = _fair(sizes, config.smallest_share)
    return Counted(max(len(counted), 2), _note(counted, sizes, config))


def _fair(sizes: IntArray, smallest_share: float) -> IntArray:
    """Return the sizes of communities that are large enough to count."""
    n_cells, seen = int(sizes.sum()), sizes[sizes >= _SMALLEST_CELLS]
    share = min(smallest_share, _SMALLEST_OF_MEAN / max(len(seen), 1))
    return seen[seen >= share * n_cells]


def _note(counted: IntArray, sizes: IntArray, config: ClusterConfig) -> str | None:
    """Return what tells a count of few cells, as at a resolution that leaves crumbs."""
    share = counted.sum() / sizes.sum()
    if share >= _MOST_CELLS:
        return None
    return (
        f"The number of clusters was counted from {share:.0%} of the cells: the other {len(sizes) - len(counted)} of "
        f"{len(sizes)} communities at cluster.resolution {config.resolution:g} are too small. Lower it, or give "
        "--n-clusters."
    )
