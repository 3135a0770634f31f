"""An order of centroids in which consecutive ones are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["walk_order"]


def walk_order(centroids: FloatArray) -> NDArray[np.int64]:
    """Return the centroids in the order of a depth-first walk along their minimum spanning tree.

    The tree starts at one end of the data. At a fork the smaller branches come first, so the walk makes few long jumps
    back. Prim's algorithm computes each distance when it needs it: time ``n_lists ** 2``, memory ``n_lists``.

    Parameters
    ----------
    centroids
        ndarray of float32, shape (n_lists, n_dims).

    Returns
    -------
    ndarray of int64, shape (n_lists,)
        A permutation.

    References
    ----------
    Prim: Shortest connection networks and some generalizations. Bell System Technical Journal 36 (1957).
    """
    n = len(centroids)
    parents = np.empty(n, np.int64)
    joined = np.empty(n, np.int64)
    squared = ((centroids - centroids.mean(axis=0)) ** 2).sum(axis=1)
    compiled(_spanning_tree, contract=True)(
        np.ascontiguousarray(centroids), int(np.argmax(squared)), parents, joined
    )
    order = np.empty(n, np.int64)
    compiled(_depth_first)(parents, joined, order)
    return order


def _spanning_tree(centroids: FloatArray, root: int, parents: IntArray, joined: IntArray) -> None:
    """Fill in the parent of each node (-1 for the root), and the nodes in the order they join the tree."""
    n, n_dims = centroids.shape
    # For each node outside the tree: its squared distance to the tree. ``parents`` holds the node of the tree that is
    # at this distance.
    nearest = np.full(n, np.inf, np.float32)
    parents[:] = -1
    outside = np.ones(n, np.bool_)
    newest = root
    for step in range(n):
        joined[step] = newest
        outside[newest] = False
        least, next_node = np.float32(np.inf), -1
        for other in range(n):
            if not outside[other]:
                continue
            # Only the newest node can have brought the tree nearer, so no matrix of distances is needed.
            squared = np.float32(0)
            for j in range(n_dims):
                gap = centroids[newest, j] - centroids[other, j]
                squared += gap * gap
            if squared < nearest[other]:
                nearest[other], parents[other] = squared, newest
            # Without a first choice, nodes at an infinite distance (an overflow) would never join.
            if next_node < 0 or nearest[other] < least:
                least, next_node = nearest[other], other
        newest = next_node


def _depth_first(parents: IntArray, joined: IntArray, order: IntArray) -> None:
    """Fill in the nodes in depth-first order, with the smallest subtree of a node first."""
    n = len(parents)
    sizes = np.ones(n, np.int64)
    # Children join after their parents, so backwards each subtree is complete before it is added to its parent's.
    for step in range(n - 1, 0, -1):
        sizes[parents[joined[step]]] += sizes[joined[step]]
    # Children of a node as a linked list: its first child, and the next sibling of each child.
    child, sibling = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    for node in np.argsort(-sizes, kind="mergesort"):
        # Each is put at the front, largest subtree first, so the smallest ends up at the front.
        if parents[node] >= 0:
            sibling[node], child[parents[node]] = child[parents[node]], node
    # A stack, and not recursion: a chain of centroids is as deep as there are centroids. It holds at most one node per
    # level: the sibling of each node on the path.
    stack = np.empty(n, np.int64)
    stack[0], height, position = joined[0], 1, 0
    while height:
        height -= 1
        node = stack[height]
        order[position] = node
        position += 1
        # The child goes on top of the sibling: a subtree is finished before the next one starts.
        if sibling[node] >= 0:
            stack[height] = sibling[node]
            height += 1
        if child[node] >= 0:
            stack[height] = child[node]
            height += 1
