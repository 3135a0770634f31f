"""The sizes that memory depends on, and how the data is cut into blocks.

Blocks enter sums and matrix products, so their sizes depend on the data alone, never on memory or cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scrcl import _contract
from scrcl.train.memory import dense_block_rows

if TYPE_CHECKING:
    from scrcl.engine.config import RunConfig
    from scrcl.train.method import Estimates, Method
    from scrcl.train.settings import TrainSettings

__all__ = ["Learning", "Shape"]

BLOCK_VALUES = 2_000_000
"""Stored values of X in a block."""

MAX_BLOCK_ROWS = 16_384
"""Rows in a block of an atlas whose cells hold few values."""

MOMENT_BYTES = 56
"""Sums of one gene in one batch."""

CHOSEN_SHARE = 2.0
"""Stored values of a chosen gene, for each of an average gene."""


@dataclass(frozen=True)
class Learning:
    """The chosen method, with all that its estimates depend on."""

    method: Method[Any, Any, Any, Any]
    settings: Any
    train: TrainSettings
    space: str

    @classmethod
    def of(cls, config: RunConfig) -> Learning:
        """Return the method of a configuration."""
        method = config.method_entry.load()
        return cls(method, config.method_settings, config.train, config.clustered_on)


@dataclass(frozen=True)
class Shape:
    """The sizes that memory depends on.

    Attributes
    ----------
    n_cells, n_vars, values_per_row
        Cells and genes of the input, and stored values of X in one cell.
    n_batches
        Batches whose genes are chosen apart.
    n_genes, n_comps
        Selected genes and principal components.
    n_neighbors
        Neighbours searched of a cell.
    learning
        The method with its settings.
    index_bytes
        What the search of neighbours holds of a cell, beyond what "partitioned" does.
    refining
        Clusters are counted, or refined, by the spots around.
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
    n_neighbors: int
    learning: Learning
    n_vars: int = 20_000
    n_batches: int = 1
    index_bytes: int = 0
    refining: bool = False
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
    def sizes(self) -> _contract.Shape:
        """The sizes of the data alone."""
        return _contract.Shape(
            n_cells=self.n_cells,
            n_vars=self.n_vars,
            values_per_row=self.values_per_row,
            n_genes=self.n_genes,
            n_comps=self.n_comps,
            n_neighbors=self.n_neighbors,
            n_batches=self.n_batches,
            is_column_major=self.by_genes,
        )

    @cached_property
    def estimates(self) -> Estimates:
        """What the stages of the method take."""
        of = self.learning
        return of.method.estimates(self.sizes, of.settings, of.train, space=of.space)

    @property
    def width(self) -> int:
        """Width of the embedding."""
        return self.learning.method.width(self.learning.settings)

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
        return dense_block_rows(self.learning.method.widest(self.sizes, self.learning.settings))

    @property
    def moments_bytes(self) -> int:
        """Sums over the values of all genes in all batches."""
        return MOMENT_BYTES * self.n_vars * self.n_batches

    @property
    def gram_bytes(self) -> int:
        """One triangle of products of the selected genes, in float32."""
        return 2 * self.n_genes**2 if self.gram else 0
