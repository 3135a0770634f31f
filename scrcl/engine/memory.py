"""Bytes that several stages count with, and how rows are cut into blocks.

Blocks enter sums and matrix products. So their sizes depend on the data alone, never on memory or cores: results have
the same bits on any machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.train.memory import LIBRARIES_BYTES, MORE_NEIGHBORS
from scrcl.train.memory import dense_block_rows as rows_of_width

if TYPE_CHECKING:
    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig

__all__ = [
    "ANNOTATION_BYTES",
    "KEPT_BYTES",
    "LIBRARIES_BYTES",
    "MORE_NEIGHBORS",
    "POSITION_BYTES",
    "SEARCH_BYTES",
    "STREAM_BYTES",
    "TREE_BYTES",
    "block_rows",
    "block_rows_of",
    "block_values",
    "dense_block_rows",
    "gram_bytes",
    "kept_bytes",
    "selected_values",
]

STREAM_BYTES = 430 * 10**6
"""Resident once anndata, zarr, dask and the compiled loops are loaded; measured."""

KEPT_BYTES = 25
"""For each cell: what earlier stages leave resident. Late stages that do little themselves take hardly more."""

_KEPT_OF_BATCHES = 110 * 10**6
"""Resident after batches were compared: scikit-learn, and what the allocator keeps of the tests; measured."""

ANNOTATION_BYTES = 300
"""Names and a few columns of ``obs``, for each cell."""

TREE_BYTES = 150
"""For each cell whose neighbours in the tissue are searched: coordinates, their order, and the tree."""

POSITION_BYTES = 20
"""For each cell: its position in the order of the partition and back, its list, and its length."""

SEARCH_BYTES = 200 * 10**6
"""Blocks of queries that are searched at once with the lists they visit, or the subset that centroids are
learned from."""

_SELECTED_SHARE = 2.0
"""Stored values of a selected gene, for each of an average gene."""

_BLOCK_VALUES = 2_000_000
"""Stored values of X in a block."""

_MOST_BLOCK_ROWS = 16_384
"""Rows in a block of an atlas whose cells hold few values."""


def block_rows(shape: Shape) -> int:
    """Return the rows of X in a block."""
    return block_rows_of(shape.values_per_row, shape.n_cells)


def block_rows_of(values_per_row: float, n_cells: int) -> int:
    """Return the rows in a block of a matrix with so many stored values in a row."""
    rows = int(_BLOCK_VALUES / max(values_per_row, 1.0))
    return min(max(rows, 64), _MOST_BLOCK_ROWS, max(n_cells, 1))


def block_values(shape: Shape) -> float:
    """Return the stored values of X in a block."""
    return block_rows(shape) * max(shape.values_per_row, 1.0)


def dense_block_rows(shape: Shape, config: RunConfig) -> int:
    """Return the rows of components or of an embedding in a block."""
    method = config.method_entry.load()
    return rows_of_width(max(method.widest(shape, config.method_settings), shape.n_comps))


def selected_values(shape: Shape) -> float:
    """Return the stored values of the selected genes, roughly."""
    share = min(_SELECTED_SHARE * shape.n_genes / max(shape.n_vars, 1), 1.0)
    return shape.n_values * share


def kept_bytes(shape: Shape) -> int:
    """Return what the stages up to the comparison of batches leave resident, beyond the libraries."""
    return KEPT_BYTES * shape.n_cells + (_KEPT_OF_BATCHES if shape.n_batches > 1 else 0)


def gram_bytes(shape: Shape, config: RunConfig) -> int:
    """Return the bytes of one triangle of products of the selected genes, in float32; 0 where none is made."""
    from scrcl.prep.randomized_pca import uses_gram

    return 2 * shape.n_genes**2 if uses_gram(config.reduce.solver, shape.n_genes) else 0
