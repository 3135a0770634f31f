"""From the memory given to workers, and from the shape of the data to blocks.

Blocks enter sums and matrix products, so their sizes depend on the data alone: memory and cores
decide how many are in flight at once, or that the work is refused, and never what comes out.

What a run holds is a fixed part (libraries), a part that grows with the cells (names, graph, the
memory maps that a stage touches), and what is in flight: blocks of rows, or a batch and its gradients.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from scrcl.errors import BudgetError

__all__ = ["Budget", "Shape", "plan_budget"]

LIBRARIES_BYTES = 650 * 10**6
"""Resident after torch, faiss, anndata, scikit-learn and (in the report) UMAP are loaded; measured."""

ANNOTATION_BYTES = 300
"""Names and a few columns of ``obs`` of one cell."""

BLOCK_VALUES = 2_000_000
"""Stored values of X in a block."""

BYTES_PER_VALUE = 60
"""A value of X in flight: 12 bytes as decoded, as CSR, normalised, selected, and in a temporary."""

DENSE_BLOCK_VALUES = 2_000_000
"""Values of an embedding in a block: 8 MB in float32."""

GRADIENT_ROWS = 16
"""Copies of an anchor's embedding that a training step holds, gradients among them; measured 13 to 16."""

MORE_NEIGHBORS = 1.4
"""Neighbours of a cell in the symmetric graph, for each nearest neighbour that was searched."""


@dataclass(frozen=True)
class Shape:
    """The sizes that memory depends on.

    Attributes
    ----------
    n_cells, values_per_row
        Cells, and stored values of X in one of them.
    n_genes, n_comps, n_features
        Selected genes, principal components, and columns that the encoders read.
    n_neighbors, dim, refined_dim
        As in the settings.
    batch_cells, n_drawn
        Seed cells of a batch, and cells drawn beside them as negatives.
    """

    n_cells: int
    values_per_row: float
    n_genes: int
    n_comps: int
    n_features: int
    n_neighbors: int
    dim: int
    refined_dim: int
    batch_cells: int
    n_drawn: int

    @property
    def cells_bytes(self) -> int:
        """What grows with the cells, in the stage that holds most of it."""
        graph = 8 * self.n_comps + (8 + 30 * MORE_NEIGHBORS) * self.n_neighbors
        training = 8 * self.n_features + 8 * MORE_NEIGHBORS * self.n_neighbors
        embedding = 8 * self.n_features + 8 * self.dim
        result = 8 * (self.dim + self.refined_dim) + 4 * self.n_comps + 24 * self.n_neighbors
        largest = max(graph, training, embedding, result)
        return int(self.n_cells * (ANNOTATION_BYTES + largest))

    @property
    def step_bytes(self) -> int:
        """What a training step holds: the batch's cells and their halo, and those of the negatives."""
        row = 4 * (GRADIENT_ROWS * self.dim + 4 * self.n_features)
        return int((self._anchors(self.batch_cells) + self._anchors(self.n_drawn)) * row)

    @property
    def block_bytes(self) -> int:
        """What one block in flight holds, and the worker's matrix of products of genes."""
        rows = self.block_rows * max(self.values_per_row, 1.0) * BYTES_PER_VALUE
        return int(rows) + 16 * self.n_genes**2

    @property
    def block_rows(self) -> int:
        """Rows of X in a block."""
        rows = int(BLOCK_VALUES / max(self.values_per_row, 1.0))
        return min(max(rows, 64), 16_384, max(self.n_cells, 1))

    @property
    def dense_block_rows(self) -> int:
        """Rows of an embedding in a block."""
        widest = max(self.n_features, 2 * self.dim, self.n_comps, 1)
        return min(max(DENSE_BLOCK_VALUES // widest, 256), 65_536)

    def _anchors(self, n_seeds: int) -> float:
        """Seeds and their neighbours; a cell that several seeds have as neighbour is held once."""
        drawn = min(n_seeds, self.n_cells) * (1 + MORE_NEIGHBORS * self.n_neighbors)
        return self.n_cells * -math.expm1(-drawn / self.n_cells)


@dataclass(frozen=True)
class Budget:
    """How the work is cut.

    Attributes
    ----------
    total_bytes
        What the user gave.
    block_rows, dense_block_rows
        Rows of a block of X, and of an embedding.
    n_workers
        Blocks in flight at once.
    """

    total_bytes: int
    block_rows: int
    dense_block_rows: int
    n_workers: int


def plan_budget(total_bytes: int, shape: Shape, *, n_workers: int | None = None) -> Budget:
    """Fit the work into ``total_bytes``, with at most ``n_workers`` (default: cores, at most 8).

    Raises
    ------
    BudgetError
        It does not fit; the message says what would.
    """
    fixed = LIBRARIES_BYTES + shape.cells_bytes
    needed = fixed + max(shape.block_bytes, shape.step_bytes)
    if total_bytes < needed:
        smaller = ", or lower train.batch_cells, train.fanout or train.n_negatives"
        message = (
            f"memory must be at least {_megabytes(needed)} MB for {shape.n_cells:,} cells; "
            f"got {total_bytes // 10**6} MB. "
            f"Give --memory more{smaller if shape.step_bytes > shape.block_bytes else ''}."
        )
        raise BudgetError(message)
    wanted = n_workers or min(os.cpu_count() or 1, 8)
    fitting = int((total_bytes - fixed) // shape.block_bytes)
    return Budget(
        total_bytes=total_bytes,
        block_rows=shape.block_rows,
        dense_block_rows=shape.dense_block_rows,
        n_workers=min(wanted, fitting),
    )


def _megabytes(n_bytes: float) -> int:
    """Round up to tens of megabytes."""
    return math.ceil(n_bytes / 10**7) * 10
