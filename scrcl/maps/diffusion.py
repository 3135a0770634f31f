"""Diffusion pseudotime: how far a cell lies from a root along the paths of the graph.

The distance of two cells compares random walks of all lengths that start at them. It is computed from the leading
eigenvectors of the graph's transition matrix, as `scanpy.tl.dpt` does. On a connected graph of some hundred cells it
has scanpy's values. There are two differences. In graphs of a few nodes scanpy also takes negative eigenvalues. And it
takes all eigenvalues above .9994 for 1, because of float32. In a graph of thousands of cells the slowest walks, along
the whole path, have such eigenvalues, and scanpy's pseudotime loses the path. Here only the first eigenvalue is 1.

References
----------
Haghverdi, Buettner, Wolf, Buettner, Theis: Diffusion pseudotime robustly reconstructs lineage branching, Nature
Methods 13 (2016), 845-848. Coifman and Lafon: Diffusion maps, Applied and Computational Harmonic Analysis 21 (2006),
5-30: the density of cells is divided out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread

if TYPE_CHECKING:
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["connected_to", "diffusion_coordinates", "pseudotime", "tip_of"]

_LEAST_GAP = 1e-12
"""Least distance of an eigenvalue from 1: nearer ones are rounding errors."""

_TIP_SHARE = 0.1
"""Share of a group's cells that are its tip."""


def connected_to(weights: Csr, cells: IntArray) -> IntArray:
    """Return the nodes of the connected component that most of ``cells`` are in, ascending."""
    from scipy.sparse.csgraph import connected_components

    _, component = connected_components(weights, directed=False)
    return np.flatnonzero(component == np.bincount(component[cells]).argmax())


def diffusion_coordinates(weights: Csr, n_comps: int, start: FloatArray) -> FloatArray:
    """Return coordinates of the nodes, whose Euclidean distances are diffusion pseudotime distances.

    Parameters
    ----------
    weights
        csr_matrix, shape (n, n): symmetric, of one connected component.
    n_comps
        Eigenvectors that are used; fewer if the graph has fewer.
    start
        ndarray of float64, shape (n,): where the search for eigenvectors starts. Memory grows by about 31 such vectors.

    Returns
    -------
    ndarray of float64, shape (n, n_comps)
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import eigsh

    n = weights.shape[0]
    density = diags(1 / np.asarray(weights.sum(axis=0), np.float64).ravel())
    kernel = density @ weights.astype(np.float64) @ density
    scale = diags(1 / np.sqrt(np.asarray(kernel.sum(axis=0)).ravel()))
    transitions = (scale @ kernel @ scale).tocsr()
    k = min(n_comps, n - 1)
    with one_blas_thread():
        if n <= 2 * n_comps + 1:  # too small for the iteration
            values, vectors = np.linalg.eigh(transitions.toarray())
        else:
            values, vectors = eigsh(transitions, k=k, which="LA", v0=start)
    values, vectors = values[-k:], vectors[:, -k:]  # they ascend
    lengths = values / np.maximum(1 - values, _LEAST_GAP)
    lengths[-1] = (
        1  # the stationary state of a connected graph, which compares no cells; as in scanpy
    )
    return np.asarray(vectors * lengths)


def pseudotime(coordinates: FloatArray, root: int) -> FloatArray:
    """Return the distance of each node from a root, 0 to 1: ndarray of float32, shape (n,)."""
    apart = np.linalg.norm(coordinates - coordinates[root], axis=1)
    return np.asarray(apart / max(float(apart.max()), 1e-300), np.float32)


def tip_of(coordinates: FloatArray, inside: IntArray) -> int:
    """Return the node of a group at the end that points away from all other nodes.

    A tenth of the group lies farthest from the mean of the others. Of these the node next to their mean is taken, so
    that an outlier is not.

    Parameters
    ----------
    inside
        ndarray of int, shape (n_inside,): nodes of the group. If there are no others, the mean of all is compared.
    """
    others = np.setdiff1d(np.arange(len(coordinates)), inside)
    centre = coordinates[others if len(others) else inside].mean(axis=0)
    apart = np.linalg.norm(coordinates[inside] - centre, axis=1)
    n_tip = max(int(np.ceil(_TIP_SHARE * len(inside))), 1)
    tip = inside[np.argsort(-apart, kind="stable")[:n_tip]]
    from_mean = np.linalg.norm(coordinates[tip] - coordinates[tip].mean(axis=0), axis=1)
    return int(tip[from_mean.argmin()])
