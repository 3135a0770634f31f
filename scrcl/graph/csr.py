"""The graph type of the whole program: binary, symmetric, without self loops, as two CSR arrays.

``indptr`` is int64 (a hundred million cells of fifteen neighbours have more than 2^31 stored edges);
``indices`` is int32 and ascending in each row. Both may be memory maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scrcl._atomic import atomic_folder
from scrcl.errors import InputError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
    "Graph",
    "connectivities",
    "describe",
    "distances_matrix",
    "normalized_adjacency",
    "symmetric_graph",
]


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph on ``n`` nodes; every edge is stored from both ends."""

    indptr: NDArray[np.int64]
    """shape (n + 1,)"""
    indices: NDArray[np.int32]
    """shape (indptr[-1],): of node i, ascending, those from ``indptr[i]`` to ``indptr[i + 1]``"""

    @property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    @cached_property
    def degrees(self) -> NDArray[np.int64]:
        """Number of neighbours of each node, shape (n,)."""
        return np.diff(self.indptr)

    @cached_property
    def inverse_sqrt_degrees(self) -> NDArray[np.float64]:
        """``1 / sqrt(degree + 1)`` of each node, shape (n,): a self loop counts as a neighbour."""
        return np.asarray(1 / np.sqrt(self.degrees + 1.0))

    def save(self, folder: Path) -> None:
        """Write ``indptr.npy`` and ``indices.npy`` into a folder, whole or absent."""
        with atomic_folder(folder) as partial:
            np.save(partial / "indptr.npy", self.indptr)
            np.save(partial / "indices.npy", self.indices)

    @classmethod
    def load(cls, folder: Path, *, mmap: bool = True) -> Graph:
        """Open a saved graph; with ``mmap`` its edges stay on disk.

        Raises
        ------
        StoreError
            When a file is missing, damaged, or does not fit the other.
        """
        try:
            indptr = np.load(folder / "indptr.npy")
            indices = np.load(folder / "indices.npy", mmap_mode="r" if mmap else None)
        except (OSError, ValueError) as error:
            msg = (
                "graph must be a folder with indptr.npy and indices.npy; "
                f"got {folder}: {error}. Build the graph again."
            )
            raise StoreError(msg) from error
        if not _fits(indptr, indices):
            msg = (
                "graph must have int64 indptr that ends at the length of int32 indices; "
                f"got {folder}. Build the graph again."
            )
            raise StoreError(msg)
        return cls(indptr, indices)

    def validate(self) -> None:
        """Check every edge; takes a few times the graph's memory.

        Raises
        ------
        InputError
            When an id is out of range, a row is not ascending, a node is its own neighbour, or an
            edge is missing from its other end.
        """
        if not _fits(self.indptr, self.indices) or (self.degrees < 0).any():
            _refuse("have an int64 indptr that rises from 0 to the length of its int32 indices")
        if len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < self.n:
            _refuse(f"hold ids from 0 to {self.n - 1}")
        rows = np.repeat(np.arange(self.n), self.degrees)
        if (rows == self.indices).any():
            _refuse("have no self loops")
        if ((np.diff(self.indices) <= 0) & (np.diff(rows) == 0)).any():
            _refuse("have ascending neighbours without repeats in every row")
        matrix = connectivities(self)
        if (matrix != matrix.T).nnz:
            _refuse("be symmetric")


def _fits(indptr: Any, indices: Any) -> bool:
    """Whether the two arrays can be a graph, by type and length."""
    typed = indptr.dtype == np.int64 and indices.dtype == np.int32
    shaped = indptr.ndim == indices.ndim == 1 and len(indptr) > 0
    return bool(typed and shaped and indptr[0] == 0 and indptr[-1] == len(indices))


def _refuse(rule: str) -> None:
    msg = (
        f"graph must {rule}; got one that does not. Build it with scrcl.graph.csr.symmetric_graph."
    )
    raise InputError(msg)


def symmetric_graph(ids: IntArray) -> Graph:
    """Join each row to the rows it names, in both directions.

    Parameters
    ----------
    ids
        ndarray of int, shape (n, k): neighbours of each of n nodes. Self loops and repeats are
        dropped; -1 stands for no neighbour.

    Returns
    -------
    Graph
        The union of the neighbour relation and its reverse. Peak memory about 30 bytes for each
        entry.

    Raises
    ------
    InputError
        When an id is out of range.
    """
    if ids.ndim != 2 or (ids.size and not -1 <= ids.min() <= ids.max() < len(ids)):
        msg = (
            f"ids must be a matrix of row numbers from 0 to {len(ids) - 1}; got shape {ids.shape} "
            "or numbers outside. Give the ids of a neighbour search."
        )
        raise InputError(msg)
    n = len(ids)
    columns = np.sort(ids, axis=1)
    keep = columns != np.arange(n, dtype=columns.dtype)[:, None]
    keep[:, 1:] &= columns[:, 1:] != columns[:, :-1]
    keep &= columns >= 0
    indptr = _offsets(keep.sum(axis=1))
    directed = _matrix(indptr, columns[keep], n, np.bool_)
    del columns, keep
    union = directed + directed.T.tocsr()
    return Graph(union.indptr.astype(np.int64), union.indices.astype(np.int32, copy=False))


def distances_matrix(ids: IntArray, distances: FloatArray) -> Csr:
    """Return neighbours' distances as a matrix, with stored values for every neighbour.

    Parameters
    ----------
    ids, distances
        ndarrays of int32 and float32, shape (n, k), from a neighbour search; an id of -1 stands for
        no neighbour.

    Returns
    -------
    csr_matrix of float32, shape (n, n)
        A stored value for each neighbour (0 among them where points are equal), columns ascending.
    """
    order = np.argsort(ids, axis=1)
    columns = np.take_along_axis(ids, order, axis=1)
    values = np.take_along_axis(distances, order, axis=1)
    there = columns >= 0
    matrix = _matrix(_offsets(there.sum(axis=1)), columns[there], len(ids), np.float32)
    matrix.data = values[there].astype(np.float32, copy=False)
    return matrix


def connectivities(graph: Graph) -> Csr:
    """Return the adjacency matrix: float32 CSR, shape (n, n), ones."""
    return _matrix(graph.indptr, graph.indices, graph.n, np.float32)


def describe(graph: Graph) -> dict[str, int | float]:
    """Return the numbers that tell a healthy graph: edges (counted once), degrees, components."""
    n_components = connected_components(
        _matrix(graph.indptr, graph.indices, graph.n, np.bool_), directed=False, return_labels=False
    )
    return {
        "n_nodes": graph.n,
        "n_edges": len(graph.indices) // 2,
        "mean_degree": float(graph.degrees.mean()) if graph.n else 0.0,
        "max_degree": int(graph.degrees.max(initial=0)),
        "n_components": int(n_components),
    }


def normalized_adjacency(graph: Graph, start: int = 0, stop: int | None = None) -> Csr:
    """Return rows ``start`` to ``stop`` of the normalised adjacency ``D^-1/2 (A + I) D^-1/2``.

    Parameters
    ----------
    graph
        Adjacency A; D holds the row sums of A + I.
    start, stop
        The rows wanted; all where not given.

    Returns
    -------
    csr_matrix of float32, shape (stop - start, n)
        Columns ascending, the node itself among them.
    """
    stop = graph.n if stop is None else stop
    first, last = graph.indptr[start], graph.indptr[stop]
    nodes = np.arange(start, stop)
    rows = np.repeat(nodes, graph.degrees[start:stop])
    neighbours = np.asarray(graph.indices[first:last])
    before = neighbours < rows
    n_before = np.bincount(rows[before] - start, minlength=stop - start)
    indptr = _offsets(graph.degrees[start:stop] + 1)
    columns = np.empty(last - first + stop - start, np.int32)
    self_at = indptr[:-1] + n_before
    is_self = np.zeros(len(columns), np.bool_)
    is_self[self_at] = True
    columns[is_self], columns[~is_self] = nodes, neighbours
    scale = graph.inverse_sqrt_degrees
    matrix = _matrix(indptr, columns, graph.n, np.float32)
    matrix.data = (np.repeat(scale[start:stop], np.diff(indptr)) * scale[columns]).astype(
        np.float32
    )
    return matrix


def _offsets(counts: IntArray) -> NDArray[np.int64]:
    """Return CSR row offsets for rows of ``counts`` entries."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _matrix(indptr: IntArray, indices: IntArray, n_columns: int, dtype: Any) -> Csr:
    """Wrap CSR arrays into a scipy matrix of ones, with 32-bit offsets where they suffice."""
    if len(indices) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    else:
        indices = indices.astype(np.int64)
    ones = np.ones(len(indices), dtype)
    matrix = sparse.csr_matrix((ones, indices, indptr), shape=(len(indptr) - 1, n_columns))
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix
