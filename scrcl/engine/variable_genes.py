"""Which genes the features stage takes: the settings, the statistics, and `scrcl.prep.hvg`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.covariates import read_column

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.engine.stage import Run
    from scrcl.io.labels import CellLabels
    from scrcl.prep.hvg import BatchMoments, Flavor
    from scrcl.prep.stats import MatrixStats, Scale
    from scrcl.typing import IntArray

__all__ = ["choose_genes", "read_batches"]

_SCALES: dict[Flavor, Scale] = {"seurat": "linear", "cell_ranger": "log", "seurat_v3": "raw"}


def choose_genes(run: Run, stats: MatrixStats) -> tuple[IntArray, pd.DataFrame]:
    """Return the positions of the variable genes, ascending, and what is known of every gene.

    All genes that enough cells have are taken where no more than the number asked for are there: a
    panel of few genes is whole, also where scanpy would leave out some for lack of a score.
    """
    from scrcl.prep.clipped_variance import clip_sums
    from scrcl.prep.hvg import highly_variable

    features, matrix = run.config.features, run.matrix
    clipped = None
    if features.flavor == "seurat_v3":
        batches = read_batches(run)
        codes = np.zeros(matrix.n_obs, np.int32) if batches is None else batches.codes
        clipped = partial(
            clip_sums,
            matrix.x(run.budget.block_rows),
            batch_of_row=np.where(stats.retained, codes, -1),
            n_batches=len(stats.batches),
            n_workers=run.budget.n_workers,
            on_rows=run.count("clipped", matrix.n_obs),
            client=run.client,
        )
    chosen, table = highly_variable(
        features.flavor,
        _moments(stats, features.flavor, features.min_cells),
        n_top=features.n_top_genes,
        clip_sums=clipped,
        gene_names=matrix.var.index,
    )
    enough = stats.gene_cells >= features.min_cells
    if np.count_nonzero(enough) <= features.n_top_genes:
        chosen = enough
    return np.flatnonzero(chosen), table


def _moments(stats: MatrixStats, flavor: Flavor, min_cells: int) -> list[BatchMoments]:
    """Return the moments of each batch; genes in too few cells count as seen nowhere."""
    from scrcl.prep.hvg import BatchMoments

    cells = stats.batch_gene_cells
    enough = cells.sum(axis=0) >= min_cells
    moments = []
    for batch, name in enumerate(stats.batches):
        mean, var = stats.moments(_SCALES[flavor], batch)
        gene_cells = np.where(enough, cells[batch], 0)
        n_cells = int(stats.cells_per_batch[batch])
        moments.append(BatchMoments(n_cells, gene_cells, mean, var, name or "all cells"))
    return moments


def read_batches(run: Run) -> CellLabels | None:
    """Return the batch of each cell, by ``batch_key``; None without one."""
    key = run.config.batch_key
    return None if key is None else read_column(run.matrix.fresh_obs(), key, "batch")
