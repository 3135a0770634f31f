"""The numbers that tell a healthy graph: degrees, components, hubs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._compiled import compiled
from scrcl.graph.symmetry import named_counts
from scrcl.io.arrays import index_dtype

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import IntArray

__all__ = ["component_sizes", "degree_counts", "describe", "hubness"]

HUB_SHARE = 0.001


def describe(graph: Graph, ids: IntArray | None = None) -> dict[str, Any]:
    """Return what a reader should know of a graph, as plain numbers.

    Parameters
    ----------
    graph
        Its edges are read once, in blocks; some 20 bytes a node are held.
    ids
        Neighbours of each node, shape (n, k), where the graph was made of such lists.

    Returns
    -------
    dict
        ``n_nodes``; ``n_edges``, each counted once; ``mean_degree``, ``median_degree``,
        ``low_degree``, ``high_degree`` (quantiles of 1 % and 99 %, the lower of two), ``max_degree``;
        ``n_isolated`` nodes without a neighbour; ``n_hubs``, the 0.1 % of nodes of highest degree (at
        least one), and ``hub_share`` of all ends of edges that they hold; ``n_components`` and
        ``largest_component``, the share of nodes in it; ``hubness``, where there are ``ids``.
    """
    sizes = component_sizes(graph)
    return {
        "n_nodes": graph.n,
        "n_edges": len(graph.indices) // 2,
        **_degree_facts(degree_counts(graph)),
        "n_components": len(sizes),
        "largest_component": int(sizes.max(initial=0)) / max(graph.n, 1),
        **({} if ids is None else {"hubness": hubness(ids)}),
    }


def degree_counts(graph: Graph) -> IntArray:
    """Return how many nodes have 0, 1, 2, ... neighbours, up to the highest degree."""
    return np.bincount(graph.degrees, minlength=1)


def hubness(ids: IntArray) -> float:
    """Return the skewness of how often a node is named: the more it has of hubs, the higher.

    Notes
    -----
    ``E[(N_k - mean)^3] / std^3`` of the k-occurrences N_k; 0 where all are equal.

    References
    ----------
    Radovanovic, Nanopoulos, Ivanovic: Hubs in space. JMLR 11 (2010), 2487-2531.
    """
    counts = np.bincount(named_counts(ids))
    if not len(counts):
        return 0.0
    away = np.arange(len(counts)) - np.average(np.arange(len(counts)), weights=counts)
    spread = np.average(away**2, weights=counts)
    return float(np.average(away**3, weights=counts) / spread**1.5) if spread else 0.0


def component_sizes(graph: Graph) -> IntArray:
    """Return the number of nodes of each connected component, in the order of their first nodes.

    Union-find over blocks of the edges: two indices a node are held.
    """
    parents: IntArray = np.arange(graph.n).astype(index_dtype(graph.n))
    for start, stop, neighbours in graph.blocks():
        compiled(_join)(parents, graph.indptr[start : stop + 1], neighbours, start)
    sizes: IntArray = np.zeros(graph.n, parents.dtype)
    compiled(_count_members)(parents, sizes)
    return sizes[sizes > 0]


def _degree_facts(counts: IntArray) -> dict[str, Any]:
    """Return the facts of the degrees whose histogram is ``counts``."""
    n_nodes, up_to = int(counts.sum()), np.cumsum(counts)
    ends = int(counts @ np.arange(len(counts)))

    def quantile(share: float) -> int:
        return int(np.searchsorted(up_to, max(int(np.floor(share * (n_nodes - 1))), 0) + 1))

    n_hubs = min(max(round(HUB_SHARE * n_nodes), 1), n_nodes)
    return {
        "mean_degree": ends / max(n_nodes, 1),
        "median_degree": quantile(0.5) if n_nodes else 0,
        "low_degree": quantile(0.01) if n_nodes else 0,
        "high_degree": quantile(0.99) if n_nodes else 0,
        "max_degree": len(counts) - 1,
        "n_isolated": int(counts[0]),
        "n_hubs": n_hubs,
        "hub_share": _highest(counts, n_hubs) / max(ends, 1),
    }


def _highest(counts: IntArray, n_nodes: int) -> int:
    """Return the sum of the ``n_nodes`` highest degrees."""
    taken = np.minimum(np.cumsum(counts[::-1]), n_nodes)
    return int(np.diff(taken, prepend=0) @ np.arange(len(counts))[::-1])


def _join(parents: np.ndarray, indptr: np.ndarray, neighbours: np.ndarray, start: int) -> None:
    """Join nodes to those before them; a root is the first node of its tree."""
    for at in range(len(indptr) - 1):
        root = start + at
        for edge in range(indptr[at] - indptr[0], indptr[at + 1] - indptr[0]):
            node = neighbours[edge]
            if node >= start + at:
                break
            while parents[node] != node:
                parents[node] = parents[parents[node]]
                node = parents[node]
            if node < root:
                parents[root] = node
                root = node
            elif root < node:
                parents[node] = root


def _count_members(parents: np.ndarray, sizes: np.ndarray) -> None:
    """Count the nodes of each tree at its root; a parent comes before its children."""
    for node in range(len(parents)):
        parents[node] = parents[parents[node]]
        sizes[parents[node]] += 1
