"""An order of centroids in which those that follow each other lie near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["walk"]


def walk(centroids: FloatArray) -> NDArray[np.int64]:
    """Return the centroids in the order of a walk along their minimum spanning tree.

    The tree is built from one end of the data (Prim's algorithm, each distance computed when it is needed:
    time n^2 and memory n); at a fork the smaller branches come first, so that the walk returns seldom.

    Parameters
    ----------
    centroids
        ndarray of float32, shape (n_lists, n_dims).

    Returns
    -------
    ndarray of int64, shape (n_lists,)
        A permutation.
    """
    n = len(centroids)
    parents = np.empty(n, np.int64)
    joined = np.empty(n, np.int64)
    away = ((centroids - centroids.mean(axis=0)) ** 2).sum(axis=1)
    compiled(_spanning_tree, contract=True)(
        np.ascontiguousarray(centroids), int(np.argmax(away)), parents, joined
    )
    order = np.empty(n, np.int64)
    compiled(_descend)(parents, joined, order)
    return order


def _spanning_tree(centroids: FloatArray, root: int, parents: IntArray, joined: IntArray) -> None:
    """Prim's algorithm: the parent of each node, and the nodes in the order they join."""
    n, n_dims = centroids.shape
    nearest = np.full(n, np.inf, np.float32)
    parents[:] = -1
    outside = np.ones(n, np.bool_)
    now = root
    for step in range(n):
        joined[step] = now
        outside[now] = False
        least, coming = np.float32(np.inf), -1
        for other in range(n):
            if not outside[other]:
                continue
            apart = np.float32(0)
            for j in range(n_dims):
                gap = centroids[now, j] - centroids[other, j]
                apart += gap * gap
            if apart < nearest[other]:
                nearest[other], parents[other] = apart, now
            if coming < 0 or nearest[other] < least:
                least, coming = nearest[other], other
        now = coming


def _descend(parents: IntArray, joined: IntArray, order: IntArray) -> None:
    """Visit the tree in depth, of the children of a node the smallest subtree first."""
    n = len(parents)
    sizes = np.ones(n, np.int64)
    for step in range(n - 1, 0, -1):  # children join after their parents
        sizes[parents[joined[step]]] += sizes[joined[step]]
    child, sibling = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    for node in np.argsort(-sizes, kind="mergesort"):
        # Linked in front one by one: the last one linked, the smallest, is the first one visited.
        if parents[node] >= 0:
            sibling[node], child[parents[node]] = child[parents[node]], node
    stack = np.empty(n, np.int64)
    stack[0], height, place = joined[0], 1, 0
    while height:
        height -= 1
        node = stack[height]
        order[place] = node
        place += 1
        if sibling[node] >= 0:
            stack[height] = sibling[node]
            height += 1
        if child[node] >= 0:
            stack[height] = child[node]
            height += 1
