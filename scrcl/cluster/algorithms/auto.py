"""Communities where the cells bear them out, else linkage: the two err on different cells, and tell on themselves.

Modularity pays for even sizes: at the resolution that gives K, communities cut a dominant type, and where they cut it
is up to the graph. Linkage pays for distance: it keeps the dominant type whole, and joins small types of one origin.
So communities are sought twice, in the neighbour graph of the points and in that of the components that training
started from. Where linkage and the two agree with one another, the communities are the clusters; else those of
linkage are. The test sees no labels and has one threshold, ``cluster.agreement``. No resolution joins parts of a
graph that no edge joins, so where these are more than K, damped linkage of the communities does.

Communities only say how the micro-clusters of linkage are joined, so what new cells are assigned by, and the tree,
are of one kind either way, and the work has a bound: communities are those of ``cluster.auto_cells`` cells.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed
from scrcl.cluster.agglomerate import agglomerate, summarise
from scrcl.cluster.algorithms.leiden import resolve
from scrcl.cluster.algorithms.linkage import by_linkage, viewed
from scrcl.cluster.communities import leiden_of, neighbour_graph
from scrcl.cluster.consensus import agreed
from scrcl.cluster.protocol import Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.cluster.algorithms.leiden import Resolved
    from scrcl.cluster.protocol import Grouping, Spaces
    from scrcl.cluster.settings import ClusterConfig
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_auto"]

MOST_COMPONENTS = 50
"""Further components hold more noise than structure; a graph of directions in 50 is the field's usual one."""


def by_auto(spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int) -> Grouping:
    """Join the micro-clusters of `by_linkage` as communities say, where these agree; else as linkage says.

    Agreement is the mean adjusted Rand index between three: linkage, communities of the points, and communities of
    the components. Without components there is nothing to agree with, and linkage it is; and where no graph has as
    many communities, however high the resolution.
    """
    merged = by_linkage(spaces, n_clusters, config=config, seed=seed)
    if spaces.scores is None or merged.summary is None:
        return merged._replace(choice=Choice("linkage", None))
    cells = viewed(merged.groups, config.auto_cells, seed, "cluster.auto.cells")
    groups, sizes = merged.groups[cells], merged.summary.sizes
    n_views = max(config.restarts // 2, 1)

    def found(rows: FloatArray, number: int) -> list[Resolved]:
        return _communities(
            np.ascontiguousarray(rows, np.float32),
            n_clusters,
            n_neighbors=spaces.n_neighbors,
            size_power=config.size_power,
            smallest=config.smallest_of(len(cells), len(merged.groups)),
            seeds=[derive_seed(seed, "cluster.auto", number, view) for view in range(n_views)],
        )

    of_points = found(np.asarray(spaces.points[cells]), 0)
    of_components = found(_directions(np.asarray(spaces.scores[cells, :MOST_COMPONENTS])), 1)
    views = [view.labels for view in (*of_points, *of_components)]
    agreement = _agreement([[merged.owners[groups]], views[:n_views], views[n_views:]])
    most = max(view.n_found for view in (*of_points, *of_components))
    if agreement < config.agreement:
        return merged._replace(choice=Choice("linkage", agreement))
    if most < n_clusters:
        return merged._replace(choice=Choice("linkage", agreement, "too few communities"))
    communities = agreed(
        groups,
        views,
        min(n_clusters, len(sizes)),
        smallest=config.smallest_cells,
        sizes=sizes,
    )
    return merged._replace(owners=communities, choice=Choice("communities", agreement))


def _communities(
    rows: FloatArray,
    n_clusters: int,
    *,
    n_neighbors: int,
    size_power: float,
    smallest: int,
    seeds: list[int],
) -> list[Resolved]:
    """Return ``n_clusters`` communities of the rows, once for each random order that Leiden visits them in.

    They are fewer where no resolution has as many.
    """
    graph = neighbour_graph(rows, n_neighbors, seeds[0])
    views = []
    for seed in seeds:
        communities = leiden_of(graph, seed=seed, name="cluster.auto", n_iterations=2)
        view = resolve(communities, n_clusters, smallest)
        if view.n_found > n_clusters:
            summary = summarise(rows, view.labels)
            owners = agglomerate(summary, n_clusters, size_power=size_power, smallest=smallest)
            view = view._replace(labels=owners.astype(np.int64)[view.labels], n_found=n_clusters)
        views.append(view)
    return views


def _directions(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))


def _agreement(kinds: Sequence[Sequence[IntArray]]) -> float:
    """Return the mean adjusted Rand index of clusterings of two kinds, and of that over the pairs of kinds."""
    from sklearn.metrics import adjusted_rand_score

    return float(
        np.mean(
            [
                np.mean([adjusted_rand_score(a, b) for a, b in product(one, other)])
                for one, other in combinations(kinds, 2)
            ]
        )
    )
