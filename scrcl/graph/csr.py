"""The graph type of the whole program: binary, symmetric, without self loops, as two CSR arrays.

``indptr`` is int64 (a hundred million cells of fifteen neighbours have more than 2^31 stored edges);
``indices`` is int32 (int64 where there are more than 2^31 nodes) and ascending in each row. Both may
be memory maps.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from scrcl._atomic import atomic_folder
from scrcl._contract import Artifact
from scrcl.errors import InputError, StoreError
from scrcl.graph.symmetry import BLOCK_ENTRIES, require_row_numbers, write_edges
from scrcl.io.arrays import index_dtype, release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
    "CELL_GRAPH",
    "GENE_GRAPH",
    "Graph",
    "Symmetry",
    "connectivities",
    "distances_matrix",
    "normalized_adjacency",
    "symmetric_graph",
]

Symmetry: TypeAlias = Literal["union", "mutual"]


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph on ``n`` nodes; every edge is stored from both ends."""

    indptr: NDArray[np.int64]
    """shape (n + 1,)"""
    indices: IntArray
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
                "graph must have int64 indptr that ends at the length of int32 or int64 indices; "
                f"got {folder}. Build the graph again."
            )
            raise StoreError(msg)
        return cls(indptr, indices)

    def blocks(self) -> Iterator[tuple[int, int, IntArray]]:
        """Yield first row, last row and neighbours of blocks of rows; pages are let go after each.

        A block has some 2 million neighbours, or is one row.
        """
        start = 0
        while start < self.n:
            end = self.indptr[start] + BLOCK_ENTRIES
            stop = max(int(np.searchsorted(self.indptr, end, side="right")) - 1, start + 1)
            yield start, stop, np.asarray(self.indices[self.indptr[start] : self.indptr[stop]])
            release(self.indices)
            start = stop

    def validate(self) -> None:
        """Check every edge; takes a few times the graph's memory.

        Raises
        ------
        InputError
            When an id is out of range, a row is not ascending, a node is its own neighbour, or an
            edge is missing from its other end.
        """
        if not _fits(self.indptr, self.indices) or (self.degrees < 0).any():
            _refuse("have an int64 indptr that rises from 0 to the length of its indices")
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


CELL_GRAPH: Artifact[Graph] = Artifact("cell graph", lambda folder: Graph.load(folder / "csr"))
"""Nearest neighbours of the cells, joined in both directions; its edges stay on disk."""

GENE_GRAPH: Artifact[Graph] = Artifact("gene graph", lambda folder: Graph.load(folder / "csr"))
"""Nearest neighbours of the selected genes, joined in both directions."""


def _fits(indptr: Any, indices: Any) -> bool:
    """Whether the two arrays can be a graph, by type and length."""
    typed = indptr.dtype == np.int64 and indices.dtype in (np.int32, np.int64)
    shaped = indptr.ndim == indices.ndim == 1 and len(indptr) > 0
    return bool(typed and shaped and indptr[0] == 0 and indptr[-1] == len(indices))


def _refuse(rule: str) -> None:
    msg = (
        f"graph must {rule}; got one that does not. Build it with scrcl.graph.csr.symmetric_graph."
    )
    raise InputError(msg)


def symmetric_graph(
    ids: IntArray,
    folder: Path | None = None,
    *,
    mode: Symmetry = "union",
    block_entries: int = BLOCK_ENTRIES,
) -> Graph:
    """Join each row to the rows it names, in both directions.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n, k): neighbours of each of n nodes, -1 for none. Self
        loops and repeats are dropped. It is read twice and a half, in blocks.
    folder
        Where to write the graph, whole or absent, and with it for a while twice the bytes of
        ``ids``; None keeps all in memory.
    mode
        "union" joins two nodes where either names the other, "mutual" where both do.
    block_entries
        Entries at work at once; changes no result.

    Returns
    -------
    Graph
        Its edges a memory map where there is a folder. Peak memory then is 30 bytes for each of
        ``block_entries``, and 12 bytes a node.

    Raises
    ------
    InputError
        When an id is out of range, or the mode unknown.
    """
    require_row_numbers(ids)
    if mode not in ("union", "mutual"):
        msg = f'mode must be "union" or "mutual"; got {mode!r}. Choose one of these.'
        raise InputError(msg)
    mutual, dtype = mode == "mutual", index_dtype(len(ids))
    if folder is None:
        edges = io.BytesIO()
        indptr = write_edges(ids, io.BytesIO(), edges, mutual=mutual, block_entries=block_entries)
        return Graph(indptr, np.frombuffer(edges.getbuffer(), dtype))
    with atomic_folder(folder) as partial:
        pairs = partial / "pairs.bin"
        with pairs.open("w+b") as scratch, (partial / "indices.npy").open("wb") as out:
            _write_header(out, 0, dtype)
            indptr = write_edges(ids, scratch, out, mutual=mutual, block_entries=block_entries)
            _write_header(out, int(indptr[-1]), dtype)
        pairs.unlink()
        np.save(partial / "indptr.npy", indptr)
    return Graph.load(folder)


def _write_header(file: io.BufferedWriter, length: int, dtype: np.dtype) -> None:
    """Write the head of a ``.npy`` file of one axis; NumPy leaves room for any length."""
    file.seek(0)
    head = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, head)


def distances_matrix(
    ids: IntArray, distances: FloatArray, start: int = 0, stop: int | None = None
) -> Csr:
    """Return neighbours' distances as a matrix, with a stored value for every neighbour.

    Parameters
    ----------
    ids, distances
        ndarrays or memory maps of int and float32, shape (n, k), from a neighbour search; where the
        id is -1 there is none.
    start, stop
        The rows wanted; all where not given.

    Returns
    -------
    csr_matrix of float32, shape (stop - start, n)
        As many stored values in a row as it has neighbours (0 among them where points are equal),
        columns ascending.
    """
    columns: IntArray = np.array(ids[start:stop], index_dtype(len(ids)))
    order = np.argsort(columns, axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    values = np.take_along_axis(np.asarray(distances[start:stop], np.float32), order, axis=1)
    release(ids)
    release(distances)
    found = columns >= 0
    return _matrix(_offsets(found.sum(axis=1)), columns[found], len(ids), values[found])


def connectivities(graph: Graph, start: int = 0, stop: int | None = None) -> Csr:
    """Return rows ``start`` to ``stop`` (all) of the adjacency matrix: float32 CSR of ones."""
    indptr = graph.indptr[start : None if stop is None else stop + 1]
    neighbours = graph.indices[indptr[0] : indptr[-1]]
    return _matrix(indptr - indptr[0], neighbours, graph.n, np.ones(len(neighbours), np.float32))


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
    columns = np.empty(last - first + stop - start, graph.indices.dtype)
    self_at = indptr[:-1] + n_before
    is_self = np.zeros(len(columns), np.bool_)
    is_self[self_at] = True
    columns[is_self], columns[~is_self] = nodes, neighbours
    scale = graph.inverse_sqrt_degrees
    values = np.repeat(scale[start:stop], np.diff(indptr)) * scale[columns]
    return _matrix(indptr, columns, graph.n, values.astype(np.float32))


def _offsets(counts: IntArray) -> NDArray[np.int64]:
    """Return CSR row offsets for rows of ``counts`` entries."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _matrix(indptr: IntArray, indices: IntArray, n_columns: int, values: FloatArray) -> Csr:
    """Wrap CSR arrays into a scipy matrix, with 32-bit offsets where they suffice."""
    if len(indices) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(indices.dtype)
    else:
        indices = indices.astype(np.int64)
    matrix = sparse.csr_matrix((values, indices, indptr), shape=(len(indptr) - 1, n_columns))
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix
