"""Statistics of a graph: degrees, connected components and hubs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._compiled import compiled
from scrcl.graph.symmetry import in_degrees
from scrcl.io.arrays import index_dtype

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import IntArray

__all__ = ["cross_share", "degree_counts", "describe"]

_HUB_SHARE = 0.001


def describe(
    graph: Graph, ids: IntArray | None = None, groups: IntArray | None = None
) -> dict[str, Any]:
    """Return the facts about a graph that a report shows, as plain numbers.

    Parameters
    ----------
    graph
        Its edges are read once, in blocks. Memory is about 20 bytes per node.
    ids
        Neighbours of each node, shape (n, k), if the graph was built from them.
    groups
        Group of each node, shape (n,), where no edge joins two groups.

    Returns
    -------
    dict
        - ``n_nodes``, and ``n_edges``, each edge counted once.
        - ``mean_degree``, ``median_degree``, ``low_degree`` and ``high_degree`` (quantiles of 1 % and 99 %; a quantile
          between two degrees is the lower one), ``max_degree``.
        - ``n_isolated``: isolated nodes, which have no edges.
        - ``n_hubs``: the 0.1 % of nodes with the highest degrees, at least one; ``hub_share``: their share of all ends
          of edges.
        - ``n_components``, and ``n_kept_apart``: the groups, one without ``groups``.
        - ``largest_component``: the share of nodes in the largest connected component, or the largest of their group.
        - ``hubness``, if there are ``ids``.
    """
    firsts, sizes = components(graph)
    codes = np.zeros_like(firsts) if groups is None else groups[firsts]
    largest = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
    np.maximum.at(largest, codes, sizes)
    return {
        "n_nodes": graph.n,
        "n_edges": len(graph.indices) // 2,
        **_degree_facts(degree_counts(graph)),
        "n_components": len(sizes),
        "n_kept_apart": int(np.count_nonzero(largest)),
        "largest_component": int(largest.sum()) / max(graph.n, 1),
        **({} if ids is None else {"hubness": hubness(ids)}),
    }


def degree_counts(graph: Graph) -> IntArray:
    """Return the numbers of nodes with 0, 1, 2, ... neighbours, up to the highest degree."""
    return np.bincount(graph.degrees, minlength=1)


def hubness(ids: IntArray) -> float:
    """Return the skewness of in-degrees: the more nodes are neighbours of very many others, the higher.

    Notes
    -----
    ``E[(N_k - mean)^3] / std^3`` of the in-degrees N_k; 0 if all are equal.

    References
    ----------
    Radovanovic, Nanopoulos, Ivanovic: Hubs in space. JMLR 11 (2010), 2487-2531.
    """
    counts = np.bincount(in_degrees(ids))
    if not len(counts):
        return 0.0
    deviations = np.arange(len(counts)) - np.average(np.arange(len(counts)), weights=counts)
    variance = np.average(deviations**2, weights=counts)
    return float(np.average(deviations**3, weights=counts) / variance**1.5) if variance else 0.0


def cross_share(graph: Graph, codes: IntArray) -> float:
    """Return the share of edges between cells of different batches; 0 without edges."""
    n_across = 0
    for start, stop, neighbours in graph.blocks():
        own = np.repeat(codes[start:stop], graph.degrees[start:stop])
        n_across += int(np.count_nonzero(codes[neighbours] != own))
    return n_across / max(len(graph.indices), 1)


def components(graph: Graph) -> tuple[IntArray, IntArray]:
    """Return the first node of each connected component, ascending, and its number of nodes.

    Union-find over blocks of edges; memory is two indices per node.

    References
    ----------
    Tarjan: Efficiency of a good but not linear set union algorithm. Journal of the ACM 22 (1975).
    """
    parents: IntArray = np.arange(graph.n).astype(index_dtype(graph.n))
    for start, stop, neighbours in graph.blocks():
        compiled(_join)(parents, graph.indptr[start : stop + 1], neighbours, start)
    sizes: IntArray = np.zeros(graph.n, parents.dtype)
    compiled(_count_members)(parents, sizes)
    firsts = np.flatnonzero(sizes)
    return firsts, sizes[firsts]


def _degree_facts(counts: IntArray) -> dict[str, Any]:
    """Return facts about degrees whose histogram is ``counts``."""
    n_nodes, up_to = int(counts.sum()), np.cumsum(counts)
    n_ends = int(counts @ np.arange(len(counts)))

    def quantile(share: float) -> int:
        return int(np.searchsorted(up_to, max(int(np.floor(share * (n_nodes - 1))), 0) + 1))

    n_hubs = min(max(round(_HUB_SHARE * n_nodes), 1), n_nodes)
    return {
        "mean_degree": n_ends / max(n_nodes, 1),
        "median_degree": quantile(0.5) if n_nodes else 0,
        "low_degree": quantile(0.01) if n_nodes else 0,
        "high_degree": quantile(0.99) if n_nodes else 0,
        "max_degree": len(counts) - 1,
        "n_isolated": int(counts[0]),
        "n_hubs": n_hubs,
        "hub_share": _sum_of_highest(counts, n_hubs) / max(n_ends, 1),
    }


def _sum_of_highest(counts: IntArray, n_nodes: int) -> int:
    """Return the sum of the ``n_nodes`` highest degrees."""
    taken = np.minimum(np.cumsum(counts[::-1]), n_nodes)
    return int(np.diff(taken, prepend=0) @ np.arange(len(counts))[::-1])


def _join(parents: np.ndarray, indptr: np.ndarray, neighbours: np.ndarray, start: int) -> None:
    """Join the nodes of a block with their lower neighbours.

    Invariant: ``parents[node] <= node``, so the root of a tree is its first node.
    """
    for at in range(len(indptr) - 1):
        # A node joins its row here first, so it is still the root of its own tree.
        root = start + at
        for edge in range(indptr[at] - indptr[0], indptr[at + 1] - indptr[0]):
            node = neighbours[edge]
            # Neighbours are ascending, and the edges to higher nodes are also in the rows of those nodes.
            if node >= start + at:
                break
            while parents[node] != node:
                # Path halving: each node on the way points to its grandparent, which keeps trees flat.
                parents[node] = parents[parents[node]]
                node = parents[node]
            # The lower of the two roots becomes the parent, which keeps the invariant.
            if node < root:
                parents[root] = node
                root = node
            elif root < node:
                parents[node] = root


def _count_members(parents: np.ndarray, sizes: np.ndarray) -> None:
    """Count the nodes of each tree at its root."""
    for node in range(len(parents)):
        # A parent is lower than its children, so it points to its root already.
        parents[node] = parents[parents[node]]
        sizes[parents[node]] += 1
