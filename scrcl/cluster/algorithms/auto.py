"""Join micro-clusters by graph communities if three clusterings agree, otherwise by linkage.

Modularity favours even sizes. At the resolution that gives K, communities divide a dominant type, and where they divide
it depends on the graph. Linkage uses distances: it keeps the dominant type whole, but joins small types that are
similar. So both err on different cells, and their disagreement shows it.

Communities are found in two graphs: of the embedding, and of the component scores that training started from. If
linkage and the two agree, communities join the micro-clusters; otherwise linkage does. This uses no labels of the user
and has one threshold, ``cluster.agreement``. It was measured in
`bench/results/ablation/2026-11-21-2cpu-choices.md`.

The micro-clusters are those of linkage in both cases, so trees and new cells need no distinction. Communities are found
on at most ``cluster.auto_cells`` cells, which bounds the work.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed
from scrcl.cluster.agglomerate import MergeCost, agglomerate
from scrcl.cluster.algorithms.leiden import resolve
from scrcl.cluster.algorithms.linkage import by_linkage, view_cells
from scrcl.cluster.consensus import consensus
from scrcl.cluster.micro import summarise
from scrcl.cluster.protocol import Choice
from scrcl.graph.communities import leiden_of, neighbour_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.cluster.algorithms.leiden import Resolved
    from scrcl.cluster.protocol import Grouping, Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import FloatArray, IntArray

__all__ = ["by_auto"]

_MOST_COMPONENTS = 50
"""Later components hold more noise than structure. Neighbour graphs of 50 components are usual in the field."""


def by_auto(spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int) -> Grouping:
    """Join the micro-clusters of `by_linkage` by communities if these agree with it; otherwise return its clusters.

    The agreement is the mean adjusted Rand index between linkage, communities of the points, and communities of the
    component scores. Linkage is also taken if there are no component scores, or if no graph has K communities at any
    resolution.
    """
    linked = by_linkage(spaces, n_clusters, settings=settings, seed=seed)
    if spaces.scores is None or linked.summary is None:
        return linked._replace(choice=Choice("linkage"))
    cells = view_cells(linked.micro_labels, settings.auto_cells, seed, "cluster.auto.cells")
    micro_labels, sizes = linked.micro_labels[cells], linked.summary.sizes
    # Half as many for each of two graphs: together as many as the restarts of linkage.
    n_views = max(settings.restarts // 2, 1)

    def found_in(rows: FloatArray, number: int) -> list[Resolved]:
        return _communities(
            np.ascontiguousarray(rows, np.float32),
            n_clusters,
            n_neighbors=spaces.n_neighbors,
            cost=MergeCost(settings.size_power),
            smallest=settings.smallest_in_subset(len(cells), len(linked.micro_labels)),
            seeds=[derive_seed(seed, "cluster.auto", number, view) for view in range(n_views)],
        )

    of_points = found_in(np.asarray(spaces.points[cells]), 0)
    of_scores = found_in(_directions(np.asarray(spaces.scores[cells, :_MOST_COMPONENTS])), 1)
    views = [view.labels for view in (*of_points, *of_scores)]
    agreement = _agreement(
        [[linked.cluster_of_micro[micro_labels]], views[:n_views], views[n_views:]]
    )
    most = max(view.n_found for view in (*of_points, *of_scores))
    if agreement < settings.agreement:
        return linked._replace(choice=Choice("linkage", agreement))
    if most < n_clusters:
        return linked._replace(choice=Choice("linkage", agreement, "too few communities"))
    cluster_of_micro = consensus(
        micro_labels,
        views,
        min(n_clusters, len(sizes)),
        smallest=settings.smallest_cells,
        sizes=sizes,
    )
    return linked._replace(
        cluster_of_micro=cluster_of_micro, choice=Choice("communities", agreement)
    )


def _communities(
    rows: FloatArray,
    n_clusters: int,
    *,
    n_neighbors: int,
    cost: MergeCost,
    smallest: int,
    seeds: list[int],
) -> list[Resolved]:
    """Return ``n_clusters`` communities of the rows, once for each seed of Leiden's random order.

    There are fewer if no resolution gives as many.
    """
    graph = neighbour_graph(rows, n_neighbors, seeds[0])
    views = []
    for seed in seeds:
        # Two passes are enough: the views are only compared, and joined by consensus.
        communities = leiden_of(graph, seed=seed, name="cluster.auto", n_iterations=2)
        view = resolve(communities, n_clusters, smallest)
        if view.n_found > n_clusters:
            # No resolution joins connected components of a graph. If these are more than K, linkage joins them.
            summary = summarise(rows, view.labels)
            joined = agglomerate(summary, n_clusters, cost=cost, smallest=smallest)
            view = view._replace(labels=joined.astype(np.int64)[view.labels], n_found=n_clusters)
        views.append(view)
    return views


def _directions(rows: FloatArray) -> FloatArray:
    """Scale rows to length 1, so that nearest neighbours are those of the largest cosine."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))


def _agreement(kinds: Sequence[Sequence[IntArray]]) -> float:
    """Return the mean adjusted Rand index between clusterings of different kinds; each pair of kinds counts once."""
    from sklearn.metrics import adjusted_rand_score

    return float(
        np.mean(
            [
                np.mean([adjusted_rand_score(a, b) for a, b in product(one, other)])
                for one, other in combinations(kinds, 2)
            ]
        )
    )
