"""The sizes of the data that memory depends on, and how it is cut into blocks and batches.

Blocks enter sums and matrix products, so their sizes depend on the data alone, never on memory or cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["MORE_NEIGHBORS", "Shape"]

BLOCK_VALUES = 2_000_000
"""Stored values of X in a block."""

MAX_BLOCK_ROWS = 16_384
"""Rows in a block of an atlas whose cells hold few values."""

MOMENT_BYTES = 56
"""Sums of one gene in one batch."""

DENSE_BLOCK_VALUES = 2_000_000
"""Values of an embedding in a block: 8 MB in float32."""

GRADIENT_ROWS = 16
"""Copies of an embedding that a training step holds, gradients among them, of a seed or of an anchor of
the block at work; measured 13 to 16."""

BLOCK_ANCHORS = 8_192
"""Anchors encoded at a time, as `scrcl.train.pairs` cuts them on the CPU."""

PAIR_BYTES = 90
"""Of a pair of a batch: both orders, weights and products."""

READ_BATCHES = 4
"""Batches whose rows are resident: the one at work, the one that is read meanwhile, and what the allocator keeps of
others; measured at a million cells."""

MORE_NEIGHBORS = 1.4
"""Neighbours of a cell in the symmetric graph, for each nearest neighbour that was searched."""

CHOSEN_SHARE = 2.0
"""Stored values of a chosen gene, for each of an average gene."""


@dataclass(frozen=True)
class Shape:
    """The sizes that memory depends on.

    Attributes
    ----------
    n_cells, n_vars, values_per_row
        Cells and genes of the input, and stored values of X in one cell.
    n_batches
        Batches whose genes are chosen apart.
    n_genes, n_comps, n_features
        Selected genes, principal components, and columns that the encoders read.
    n_neighbors, fanout, dim, refined_dim
        Neighbours searched of a cell, and the most that training draws (all where None); widths as in
        the settings.
    index_bytes
        What the search of neighbours holds of a cell, beyond what "partitioned" does.
    refining
        Clusters are counted, or refined, by the spots around.
    graph_view
        E^g is written by itself, to be clustered.
    batch_cells, n_drawn, stop_cells
        Seed cells of a batch, cells drawn beside them as negatives, and the sample that tells when to stop.
    by_genes
        The input lies by genes, and is copied by cells first.
    gram
        The genes' Gram matrix is made.
    n_also, graph_cells, n_groups
        Clusterings beside the one asked for, the most cells whose communities are found, and the groups that are
        merged to clusters.
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
    stop_cells: int = 0
    n_vars: int = 20_000
    n_batches: int = 1
    fanout: int | None = None
    index_bytes: int = 0
    refining: bool = False
    graph_view: bool = False
    by_genes: bool = False
    gram: bool = True
    n_also: int = 0
    graph_cells: int = 20_000
    n_groups: int = 300

    @property
    def n_values(self) -> float:
        """Stored values of X."""
        return self.n_cells * self.values_per_row

    @property
    def chosen_values(self) -> float:
        """Stored values of the selected genes, roughly."""
        share = min(CHOSEN_SHARE * self.n_genes / max(self.n_vars, 1), 1.0)
        return self.n_values * share

    @property
    def step_bytes(self) -> int:
        """What a training step holds: rows of the batch's cells, their halo, and those of the negatives."""
        sizes = (self.batch_cells, self.n_drawn)
        seeds = sum(min(size, self.n_cells) for size in sizes)
        anchors = sum(self._anchors(size, self._drawn_neighbors) for size in sizes)
        pairs = seeds * self._drawn_neighbors * PAIR_BYTES
        embedded = seeds + min(BLOCK_ANCHORS, anchors)
        read = READ_BATCHES * (anchors * 8 * self.n_features + pairs)
        sample = min(self.stop_cells, self.n_cells)
        sampled = sample + self._anchors(sample, MORE_NEIGHBORS * self.n_neighbors)
        read += sampled * 4 * self.n_features
        return int(read + embedded * 4 * GRADIENT_ROWS * self.dim)

    @property
    def block_rows(self) -> int:
        """Rows of X in a block."""
        rows = int(BLOCK_VALUES / max(self.values_per_row, 1.0))
        return min(max(rows, 64), MAX_BLOCK_ROWS, max(self.n_cells, 1))

    @property
    def block_values(self) -> float:
        """Stored values of X in a block."""
        return self.block_rows * max(self.values_per_row, 1.0)

    @property
    def dense_block_rows(self) -> int:
        """Rows of an embedding in a block."""
        widest = max(self.n_features, 2 * self.dim, self.n_comps, 1)
        return min(max(DENSE_BLOCK_VALUES // widest, 256), 65_536)

    @property
    def moments_bytes(self) -> int:
        """Sums over the values of all genes in all batches."""
        return MOMENT_BYTES * self.n_vars * self.n_batches

    @property
    def gram_bytes(self) -> int:
        """One triangle of products of the selected genes, in float32."""
        return 2 * self.n_genes**2 if self.gram else 0

    @property
    def _drawn_neighbors(self) -> float:
        """Neighbours of a seed, in the mean."""
        found = MORE_NEIGHBORS * self.n_neighbors
        return found if self.fanout is None else min(found, self.fanout)

    def _anchors(self, n_seeds: int, n_neighbors: float) -> float:
        """Seeds and their neighbours; a cell that several seeds have as neighbour is held once."""
        drawn = min(n_seeds, self.n_cells) * (1 + n_neighbors)
        return self.n_cells * -math.expm1(-drawn / self.n_cells)
