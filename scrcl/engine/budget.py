"""All arithmetic from bytes to rows and workers.

The memory a user gives is split once, from the shape of the input: a fixed part (libraries), a part
that grows with the cells (annotations, graph, what the final steps hold), and the rest for what is in
flight: blocks of rows before training, a batch and its gradients in it. Memory decides how the work is
cut and never what comes out, so a batch that does not fit is refused and not made smaller.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from scrcl.errors import BudgetError

__all__ = ["Budget", "batch_bytes", "plan_budget"]

LIBRARIES_BYTES = 650 * 10**6
"""Resident after torch, faiss, anndata, scikit-learn and (in the report) UMAP are loaded; measured."""

BYTES_PER_CELL = 2_600
"""Annotations, ids and distances of the neighbours, graph, the embedding while it is clustered."""

COPIES_OF_BLOCK = 5
"""A block as decoded, as CSR, normalised, selected, and one temporary of the reductions."""

ROWS_OF_GRADIENTS = 16
"""Copies of an anchor's embedding that a training step holds, gradients among them; measured 13 to 16."""

MIN_BLOCK_ROWS = 64
MAX_BLOCK_ROWS = 16_384
_BYTES_PER_VALUE = 12


@dataclass(frozen=True)
class Budget:
    """How the memory given is spent.

    Attributes
    ----------
    total_bytes
        What the user gave.
    block_rows
        Rows of a block of X in flight.
    dense_block_rows
        Rows of a block of an embedding in flight.
    n_workers
        Blocks in flight at once.
    """

    total_bytes: int
    block_rows: int
    dense_block_rows: int
    n_workers: int


def plan_budget(
    total_bytes: int,
    *,
    n_cells: int,
    values_per_row: float,
    step_bytes: int = 0,
    n_workers: int | None = None,
) -> Budget:
    """Split ``total_bytes`` for ``n_cells`` rows of ``values_per_row`` stored values.

    ``step_bytes`` is what a training step holds (`batch_bytes`).

    Raises
    ------
    BudgetError
        Not even the smallest blocks fit; the message says what would.
    """
    workers = n_workers or min(os.cpu_count() or 1, 8)
    fixed = LIBRARIES_BYTES + BYTES_PER_CELL * n_cells
    row_bytes = max(values_per_row, 1.0) * _BYTES_PER_VALUE * COPIES_OF_BLOCK
    smallest = int(fixed + row_bytes * MIN_BLOCK_ROWS)
    if total_bytes < smallest:
        message = (
            f"memory must be at least {_megabytes(smallest)} MB for {n_cells:,} cells; "
            f"got {total_bytes // 10**6} MB. Give --memory more."
        )
        raise BudgetError(message)
    if total_bytes < fixed + step_bytes:
        message = (
            f"memory must be at least {_megabytes(fixed + step_bytes)} MB to train {n_cells:,} cells "
            f"in batches of this size; got {total_bytes // 10**6} MB. Give --memory more, or "
            "lower train.batch_cells or train.fanout."
        )
        raise BudgetError(message)
    spare = total_bytes - fixed
    while workers > 1 and spare < row_bytes * MIN_BLOCK_ROWS * workers:
        workers -= 1
    rows = int(0.5 * spare / workers / row_bytes)
    dense = int(0.25 * spare / 4_096)
    return Budget(
        total_bytes=total_bytes,
        block_rows=min(max(rows, MIN_BLOCK_ROWS), MAX_BLOCK_ROWS),
        dense_block_rows=min(max(dense, 1_024), 65_536),
        n_workers=workers,
    )


def batch_bytes(
    n_cells: int, *, batch_cells: int, n_neighbors: int, dim: int, n_features: int
) -> int:
    """Memory of a training step: the batch's cells and their halo, in float32.

    A symmetric graph of ``n_neighbors`` nearest neighbours has about 1.4 times as many a cell; cells
    that several seeds have as a neighbour are held once.
    """
    drawn = min(batch_cells, n_cells) * (1 + 1.4 * n_neighbors)
    anchors = n_cells * -math.expm1(-drawn / n_cells)
    return int(anchors * 4 * (ROWS_OF_GRADIENTS * dim + 4 * n_features))


def _megabytes(n_bytes: float) -> int:
    """Round up to tens of megabytes."""
    return math.ceil(n_bytes / 10**7) * 10
