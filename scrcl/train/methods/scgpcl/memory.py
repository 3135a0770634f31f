"""What scGPCL takes: memory, disk and time of its stages, from the sizes of the data and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Estimate
from scrcl.train.memory import LIBRARIES_BYTES, dense_block_rows
from scrcl.train.method import Estimates
from scrcl.train.methods.scgpcl.inputs import EVALUATION_CELLS
from scrcl.train.schedule import schedule_of

if TYPE_CHECKING:
    from scrcl._contract import Shape
    from scrcl.train.methods.scgpcl.settings import ScgpclSettings
    from scrcl.train.settings import TrainSettings

__all__ = ["estimates", "step_bytes", "widest"]

_CELL_BYTES = 40
"""For each cell: its total, its place in the partition, and its position in the epoch."""

_MADE_ROWS = 60
"""Matrices of cells by genes that a step holds for each view: of the three heads, of the likelihood, and of their
gradients; measured."""

READ_BATCHES = 4
"""Mini-batches in memory: the current one, the next one, and what the allocator keeps."""

REFRESHED_CELLS = 1_024
"""Cells of a subset that are embedded at a time (`scrcl.train.methods.scgpcl.embed.BLOCK_CELLS`)."""

_LIST_BYTES = 3 * 24
"""For each place in the list of a gene while lists are made: key and cell, and both once more, sorted."""

_STEP_SECONDS_PER_FLOP = 1 / 30e9
"""A step runs at some 30 GFLOP/s on two cores."""


def widest(shape: Shape, settings: ScgpclSettings) -> int:
    """Return the width of the widest rows that are held in blocks of cells: all genes."""
    return max(shape.n_genes, settings.dim, shape.n_comps)


def estimates(shape: Shape, settings: ScgpclSettings, train: TrainSettings) -> Estimates:
    """Return what the stages of scGPCL take."""
    n, genes = shape.n_cells, shape.n_genes
    per_cell = LIBRARIES_BYTES + _CELL_BYTES * n
    lists = genes * min(settings.cells_per_gene, n)
    dense = 4 * genes * (6 * dense_block_rows(widest(shape, settings)) + 4 * EVALUATION_CELLS)
    written = 4 * n * settings.dim
    passes = int(6 * min(shape.n_values, float(n) * genes))
    return Estimates(
        inputs=Estimate(
            per_cell + _LIST_BYTES * lists,
            dense,
            disk_bytes=4 * n + 8 * lists,
            read_bytes=2 * passes,
            seconds=5 + 1e-5 * n,
        ),
        train=Estimate(
            per_cell + 8 * lists,
            step_bytes(shape, settings, train),
            read_bytes=passes,
            seconds=10 + _seconds(shape, settings, train),
        ),
        embed=Estimate(
            per_cell + 8 * lists, dense, disk_bytes=written, read_bytes=passes, seconds=1 + 6e-5 * n
        ),
        new_cells=Estimate(per_cell + 8 * lists, dense, disk_bytes=written),
    )


def step_bytes(shape: Shape, settings: ScgpclSettings, train: TrainSettings) -> int:
    """Return what a step holds: rows of its cells and of the context, the decoder, weights and the subset."""
    genes, seeds = shape.n_genes, min(train.minibatch_cells, shape.n_cells)
    context = min(settings.context_cells, shape.n_cells)
    read = READ_BATCHES * (3 * seeds + 4 * context)
    checked = min(train.stop_cells if train.stop == "auto" else 0, shape.n_cells)
    subset = 2 * checked + 2 * min(EVALUATION_CELLS, shape.n_cells)
    # Between steps: blocks of the subset that centres and sizes of clusters are taken from, and their context.
    between = 6 * REFRESHED_CELLS + 4 * EVALUATION_CELLS
    # Weights, their gradients, and two moments.
    weights = 4 * (5 * settings.hidden_dim + settings.gene_dim)
    found = min(settings.subset_cells, shape.n_cells) * 8 * settings.dim
    decoded = 2 * _MADE_ROWS * seeds * min(settings.reconstructed_genes, genes)
    return int(4 * (genes * (read + subset + between + weights) + decoded) + found)


def _seconds(shape: Shape, settings: ScgpclSettings, train: TrainSettings) -> float:
    """Return the time of all steps, if no phase ends early."""
    seeds = min(train.minibatch_cells, shape.n_cells)
    context = min(settings.context_cells, shape.n_cells)
    decoded = min(settings.reconstructed_genes, shape.n_genes)
    # Products of both views: of values, of the table, of the context, and of the heads; forward and twice backward.
    products = shape.n_genes * seeds * (settings.hidden_dim + settings.gene_dim + settings.dim)
    products += settings.hidden_dim * (2 * shape.n_genes * context + 3 * decoded * seeds)
    flops = 2 * 2 * 3 * products
    return schedule_of(train, shape.n_cells).n_steps * flops * _STEP_SECONDS_PER_FLOP
