"""The graph type of the whole program: binary, symmetric, without self loops, as two CSR arrays.

``indptr`` is int64, because a hundred million cells with 15 neighbours have more than 2^31 stored edges. ``indices``
is int32 (int64 if there are more than 2^31 nodes) and ascending in each row. Both may be memory maps.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from scrcl._atomic import atomic_folder
from scrcl.errors import InputError, StoreError
from scrcl.graph.symmetry import BLOCK_ENTRIES, require_row_numbers, write_edges
from scrcl.io.arrays import index_dtype, release, row_starts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
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
    """An undirected graph on ``n`` nodes. Every edge is stored twice, once in the row of each end."""

    indptr: NDArray[np.int64]
    """shape (n + 1,)"""
    indices: IntArray
    """shape (indptr[-1],): the neighbours of node i, ascending, are ``indices[indptr[i]:indptr[i + 1]]``"""

    def __repr__(self) -> str:
        """Return the size of the graph."""
        return f"Graph(n={self.n:,}, n_edges={len(self.indices) // 2:,})"

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
        """``1 / sqrt(degree + 1)`` of each node, shape (n,). The 1 is a self loop."""
        return np.asarray(1 / np.sqrt(self.degrees + 1.0))

    def save(self, folder: Path) -> None:
        """Write ``indptr.npy`` and ``indices.npy`` into a folder, which is complete or absent."""
        with atomic_folder(folder) as partial:
            np.save(partial / "indptr.npy", self.indptr)
            np.save(partial / "indices.npy", self.indices)

    @classmethod
    def load(cls, folder: Path, *, mmap: bool = True) -> Graph:
        """Open a saved graph; with ``mmap``, its edges stay on disk.

        Raises
        ------
        StoreError
            A file is missing or damaged, or the files do not fit each other.
        """
        try:
            indptr = np.load(folder / "indptr.npy")
            indices = np.load(folder / "indices.npy", mmap_mode="r" if mmap else None)
        except Exception as error:
            message = (
                "graph must be a folder with indptr.npy and indices.npy; "
                f"got {folder}: {error}. Delete that folder, and repeat the command that made it."
            )
            raise StoreError(message) from error
        if not _fits(indptr, indices):
            message = (
                "graph must have int64 indptr that ends at the length of int32 or int64 indices; "
                f"got {folder}. Delete that folder, and repeat the command that made it."
            )
            raise StoreError(message)
        return cls(indptr, indices)

    def blocks(self) -> Iterator[tuple[int, int, IntArray]]:
        """Yield (first row, end row, neighbours) for consecutive blocks of rows.

        A block has about 2 million neighbours, or is one row. Pages of a memory map are released after each block.
        """
        start = 0
        while start < self.n:
            end = self.indptr[start] + BLOCK_ENTRIES
            stop = max(int(np.searchsorted(self.indptr, end, side="right")) - 1, start + 1)
            yield start, stop, np.asarray(self.indices[self.indptr[start] : self.indptr[stop]])
            release(self.indices)
            start = stop


def _fits(indptr: Any, indices: Any) -> bool:
    """Return whether the two arrays can be a graph, by type and length."""
    typed = indptr.dtype == np.int64 and indices.dtype in (np.int32, np.int64)
    shaped = indptr.ndim == indices.ndim == 1 and len(indptr) > 0
    return bool(typed and shaped and indptr[0] == 0 and indptr[-1] == len(indices))


def symmetric_graph(
    ids: IntArray,
    folder: Path | None = None,
    *,
    mode: Symmetry = "union",
    block_entries: int = BLOCK_ENTRIES,
) -> Graph:
    """Return the graph that joins each row to its neighbours, in both directions.

    Parameters
    ----------
    ids
        ndarray or memory map of int, shape (n, k): neighbours of each of n nodes, -1 for none. Self loops and repeats
        are dropped. It is read in blocks, two and a half times.
    folder
        Where to write the graph, which is complete or absent. While it is built, the folder also holds twice the
        bytes of ``ids``. If None, all is in memory.
    mode
        "union" joins two nodes if either has the other as a neighbour, "mutual" if both do.
    block_entries
        Entries held in memory at once. It changes no result.

    Returns
    -------
    Graph
        With a folder, its edges are a memory map, and peak memory is 30 bytes for each of ``block_entries`` and 12
        bytes per node.

    Raises
    ------
    InputError
        An id is out of range, or the mode is unknown.
    """
    require_row_numbers(ids)
    if mode not in ("union", "mutual"):
        message = f'mode must be "union" or "mutual"; got {mode!r}. Choose one of them.'
        raise InputError(message)
    mutual, dtype = mode == "mutual", index_dtype(len(ids))
    if folder is None:
        edges = io.BytesIO()
        indptr = write_edges(ids, io.BytesIO(), edges, mutual=mutual, block_entries=block_entries)
        return Graph(indptr, np.frombuffer(edges.getbuffer(), dtype))
    with atomic_folder(folder) as partial:
        pairs = partial / "pairs.bin"
        with pairs.open("w+b") as scratch, (partial / "indices.npy").open("wb") as out:
            # The length is known only at the end, so the header is written twice.
            _write_header(out, 0, dtype)
            indptr = write_edges(ids, scratch, out, mutual=mutual, block_entries=block_entries)
            _write_header(out, int(indptr[-1]), dtype)
        pairs.unlink()
        np.save(partial / "indptr.npy", indptr)
    return Graph.load(folder)


def _write_header(file: io.BufferedWriter, length: int, dtype: np.dtype) -> None:
    """Write the header of a one-dimensional ``.npy`` file. NumPy pads it to one size for any length."""
    file.seek(0)
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)


def distances_matrix(
    ids: IntArray, distances: FloatArray, start: int = 0, stop: int | None = None
) -> Csr:
    """Return the distances of neighbours as a matrix that stores a value for every neighbour.

    Parameters
    ----------
    ids, distances
        ndarrays or memory maps of int and float32, shape (n, k), from a neighbour search; an id of -1 is no neighbour.
    start, stop
        Range of rows; all by default.

    Returns
    -------
    csr_matrix of float32, shape (stop - start, n)
        One stored value per neighbour, 0 for equal points; columns ascending.
    """
    columns: IntArray = np.array(ids[start:stop], index_dtype(len(ids)))
    order = np.argsort(columns, axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    values = np.take_along_axis(np.asarray(distances[start:stop], np.float32), order, axis=1)
    release(ids)
    release(distances)
    found = columns >= 0
    return _matrix(row_starts(found.sum(axis=1)), columns[found], len(ids), values[found])


def connectivities(graph: Graph, start: int = 0, stop: int | None = None) -> Csr:
    """Return rows ``start`` to ``stop`` (default: all) of the adjacency matrix: float32 CSR of ones."""
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
        Range of rows; all by default.

    Returns
    -------
    csr_matrix of float32, shape (stop - start, n)
        Columns ascending, with the node itself among them.

    References
    ----------
    Kipf, Welling: Semi-supervised classification with graph convolutional networks. ICLR 2017, equation 2.
    """
    stop = graph.n if stop is None else stop
    first, last = graph.indptr[start], graph.indptr[stop]
    nodes = np.arange(start, stop)
    rows = np.repeat(nodes, graph.degrees[start:stop])
    neighbours = np.asarray(graph.indices[first:last])
    # Each node is put after its lower neighbours, so that columns stay ascending without a sort.
    is_lower = neighbours < rows
    n_lower = np.bincount(rows[is_lower] - start, minlength=stop - start)
    indptr = row_starts(graph.degrees[start:stop] + 1)
    columns = np.empty(last - first + stop - start, graph.indices.dtype)
    is_self = np.zeros(len(columns), np.bool_)
    is_self[indptr[:-1] + n_lower] = True
    columns[is_self], columns[~is_self] = nodes, neighbours
    scale = graph.inverse_sqrt_degrees
    values = np.repeat(scale[start:stop], np.diff(indptr)) * scale[columns]
    return _matrix(indptr, columns, graph.n, values.astype(np.float32))


def _matrix(indptr: IntArray, indices: IntArray, n_columns: int, values: FloatArray) -> Csr:
    """Return CSR arrays as a scipy matrix. scipy wants both index arrays of one type: the smaller that suffices."""
    if len(indices) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(indices.dtype)
    else:
        indices = indices.astype(np.int64)
    matrix = sparse.csr_matrix((values, indices, indptr), shape=(len(indptr) - 1, n_columns))
    # Set here, because scipy would find out by reading every index.
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix
