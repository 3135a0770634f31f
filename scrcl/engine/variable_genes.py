"""Which genes the features stage takes: the settings, the statistics, and `scrcl.io.hvg`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.engine.stage import Run
    from scrcl.io.hvg import BatchMoments, Flavor
    from scrcl.io.stats import Batches, MatrixStats, Scale
    from scrcl.typing import IntArray

__all__ = ["choose_genes", "count_batches", "read_batches"]

_SCALES: dict[Flavor, Scale] = {"seurat": "linear", "cell_ranger": "log", "seurat_v3": "raw"}


def choose_genes(run: Run, stats: MatrixStats) -> tuple[IntArray, pd.DataFrame]:
    """Return the positions of the variable genes, ascending, and what is known of every gene.

    All genes that enough cells have are taken where no more than the number asked for are there: a
    panel of few genes is whole, also where scanpy would leave out some for lack of a score.
    """
    from scrcl.io.clipped import clip_sums
    from scrcl.io.hvg import highly_variable

    features, matrix = run.config.features, run.matrix
    clipped = None
    if features.flavor == "seurat_v3":
        batches = read_batches(run)
        codes = np.zeros(matrix.n_obs, np.int32) if batches is None else batches.codes
        clipped = partial(
            clip_sums,
            matrix.x(run.budget.block_rows),
            batch_of_row=np.where(stats.kept, codes, -1),
            n_batches=len(stats.batches),
            n_workers=run.budget.n_workers,
            on_rows=run.count("clipped", matrix.n_obs),
            client=run.client,
        )
    chosen, table = highly_variable(
        features.flavor,
        _moments(stats, features.flavor, features.min_cells),
        n_top=features.n_top_genes,
        clipped=clipped,
        gene_names=matrix.var.index,
    )
    enough = stats.gene_cells >= features.min_cells
    if np.count_nonzero(enough) <= features.n_top_genes:
        chosen = enough
    return np.flatnonzero(chosen), table


def _moments(stats: MatrixStats, flavor: Flavor, min_cells: int) -> list[BatchMoments]:
    """Return the moments of each batch; genes in too few cells count as seen nowhere."""
    from scrcl.io.hvg import BatchMoments

    cells = stats.batch_gene_cells
    enough = cells.sum(axis=0) >= min_cells
    moments = []
    for batch, name in enumerate(stats.batches):
        mean, var = stats.moments(_SCALES[flavor], batch)
        gene_cells = np.where(enough, cells[batch], 0)
        n_cells = int(stats.batch_cells[batch])
        moments.append(BatchMoments(n_cells, gene_cells, mean, var, name or "all cells"))
    return moments


def count_batches(obs: pd.DataFrame, key: str) -> int:
    """Return how many batches there are; raises InputError where ``obs`` does not tell that of each cell."""
    if key not in obs:
        columns = ", ".join(map(str, obs.columns)) or "none"
        message = f"batch_key must be a column of obs; got {key!r}. There are: {columns}."
        raise InputError(message)
    missing = obs[key].isna().to_numpy()
    if missing.any():
        message = (
            f"batch_key must tell the batch of each cell; {int(missing.sum()):,} cells have none in "
            f"obs[{key!r}], the first is {obs.index[int(np.argmax(missing))]}. Fill the column."
        )
        raise InputError(message)
    return max(int(obs[key].nunique()), 1)


def read_batches(run: Run) -> Batches | None:
    """Return the batch of each cell, by ``batch_key``; None without one."""
    import pandas as pd

    from scrcl.io.stats import Batches

    if run.config.batch_key is None:
        return None
    column = pd.Categorical(run.matrix.fresh_obs()[run.config.batch_key]).remove_unused_categories()
    return Batches(column.codes.astype(np.int32), tuple(map(str, column.categories)))
