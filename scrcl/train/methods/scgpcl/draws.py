"""Random subsets of edges, drawn by hashes of their two ends.

A hash needs no generator: whether an edge is drawn depends on the seed and its ends alone, not on the order
in which edges are read, the block that they are in, or the rank that reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, Csr, IntArray

__all__ = ["CellLists", "drawn_edges"]

_KEY_BITS = 40
_NO_KEY = np.uint64((1 << _KEY_BITS) - 1)


def _hashes(first: IntArray, second: IntArray, seed: int) -> NDArray[np.uint64]:
    """Return random-looking keys of 40 bits, a function of both integers and the seed (SplitMix64)."""
    mixed = first.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= second.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93) + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed >> np.uint64(64 - _KEY_BITS)


def drawn_edges(rows: Csr, names: IntArray, n_most: int | None, seed: int) -> BoolArray:
    """Return which stored values are kept: at most ``n_most`` of each row, at random without replacement.

    Parameters
    ----------
    rows
        CSR, shape (n_rows, n_columns).
    names
        Number of each row by which it is known elsewhere, shape (n_rows,).
    n_most
        None keeps all.

    Returns
    -------
    ndarray of bool, shape (nnz,)
    """
    lengths = np.diff(rows.indptr)
    if n_most is None or not (lengths > n_most).any():
        return np.ones(rows.nnz, dtype=bool)
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    keys = _hashes(np.asarray(names)[row_of], rows.indices, seed)
    rank = _rank_in_group(row_of, keys, np.asarray(rows.indptr))
    return np.asarray(rank < n_most)


def _rank_in_group(
    groups: IntArray, keys: NDArray[np.uint64], starts: IntArray
) -> NDArray[np.int64]:
    """Return how many smaller keys each key has in its group; groups ascend and begin at ``starts``."""
    # One sort for all groups: group and key in one integer.
    order = np.argsort((groups.astype(np.uint64) << np.uint64(_KEY_BITS)) | keys, kind="stable")
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys)) - starts[groups]
    return rank


class CellLists:
    """Cells of each gene: at most ``n_most``, a uniform subset of all cells that have it.

    Rows are added block by block, in any order and of any size. Memory is that of the lists and of a block.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_most
        Largest number of cells in a list.
    seed
        Seed of the hashes.
    """

    def __init__(self, n_genes: int, n_most: int, seed: int) -> None:
        self._n_most, self._seed = n_most, seed
        self._keys = np.full((n_genes, n_most), _NO_KEY)
        self._cells = np.full((n_genes, n_most), -1, np.int64)

    def add(self, first_cell: int, rows: Csr) -> None:
        """Add the cells of a block of consecutive rows."""
        cells = first_cell + np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        keys = _hashes(cells, rows.indices, self._seed)
        # Most cells of a large atlas are behind a full list already.
        new = keys < self._keys[rows.indices, -1]
        genes, keys, cells = rows.indices[new].astype(np.int64), keys[new], cells[new]
        touched = np.unique(genes)
        genes = np.concatenate([np.repeat(touched, self._n_most), genes])
        keys = np.concatenate([self._keys[touched].ravel(), keys])
        cells = np.concatenate([self._cells[touched].ravel(), cells])
        order = np.argsort((genes.astype(np.uint64) << np.uint64(_KEY_BITS)) | keys, kind="stable")
        sizes = np.bincount(genes, minlength=len(self._keys))[touched]
        starts = np.cumsum(sizes) - sizes
        best = order[starts[:, None] + np.arange(self._n_most)]
        self._keys[touched], self._cells[touched] = keys[best], cells[best]

    def lists(self) -> NDArray[np.int64]:
        """Return the cells of each gene, shape (n_genes, n_most): -1 behind the end of a list."""
        return self._cells
