"""Which genes the stage ``features`` selects: by which flavor, from which moments, in all cells or batch by batch."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.engine.stages.features_by_batch import selects_by_batch
from scrcl.engine.stages.features_in_space import select_spatial
from scrcl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl.engine.context import Context
    from scrcl.engine.stages.features_in_space import SpatialGenes
    from scrcl.prep.batch_moments import BatchMoments
    from scrcl.prep.hvg import Flavor
    from scrcl.prep.stats import MatrixStats, Scale
    from scrcl.typing import BoolArray, IntArray

__all__ = ["GenesSelected", "select_genes"]

_FEWEST_GENES = 2

_SCALES: dict[Flavor, Scale] = {
    "seurat": "linear",
    "cell_ranger": "log",
    "seurat_v3": "raw",
    "variance": "raw",
}


class GenesSelected(NamedTuple):
    """The selected genes, and how they were selected."""

    positions: IntArray
    """ascending"""
    table: pd.DataFrame
    """statistics of every gene; in a tissue Moran's I too"""
    flavor: str
    n_varying: int | None = None
    """genes that vary from place to place; None where that was not asked"""
    notes: tuple[str, ...] = ()


def select_genes(context: Context, stats: MatrixStats, folder: Path) -> GenesSelected:
    """Return the variable genes.

    Where no more genes than asked for are in enough cells, all of them are selected. A panel of few genes is kept
    whole, also where scanpy would leave out some for lack of a score. In a tissue, few genes are a panel only if most
    of them vary from place to place, or hardly any do. Otherwise they are variable genes that someone selected, and the
    spatial ones among them are taken.
    """
    features = context.config.features
    notes: tuple[str, ...] = ()
    enough = stats.gene_cells >= features.min_cells
    _require_genes(features.min_cells, stats)
    is_panel = np.count_nonzero(enough) <= features.n_selected(context.matrix.n_vars)
    asked, spatial = features.flavor, context.config.spatial
    in_space: SpatialGenes | None = None
    if asked == "moran" or (asked == "auto" and spatial):
        in_space = select_spatial(context, stats, enough)
        chosen, of_panel = in_space.selected, is_panel and asked == "auto"
        if chosen is not None and not (of_panel and 2 * chosen.sum() >= enough.sum()):
            return GenesSelected(
                np.flatnonzero(chosen), _in_space(in_space), "moran", in_space.n_varying
            )
    if asked == "moran":
        message = (
            "features.flavor = moran must have at least 100 genes that vary from place to place; there are fewer. "
            "Leave the flavor out, or choose seurat."
        )
        raise InputError(message)
    flavor: Flavor = "seurat" if asked == "auto" else asked
    if asked == "auto" and spatial and stats.is_counts and not is_panel:
        flavor = "seurat_v3"
    # Nothing depends on batches where a panel is kept whole, or where variances are those over all cells.
    test = None if is_panel or flavor == "variance" else folder
    try:
        selected, table = _variable(context, stats, flavor, test)
    except InputError as error:
        if asked != "auto" or flavor == "seurat":
            raise
        flavor = "seurat"
        notes = (f"Variable genes were selected by seurat, because seurat_v3 failed: {error}",)
        selected, table = _variable(context, stats, flavor, test)
    n_varying = None
    if in_space is not None:
        table, n_varying = table.join(_in_space(in_space)), in_space.n_varying
    return GenesSelected(
        np.flatnonzero(enough if is_panel else selected), table, flavor, n_varying, notes
    )


def _in_space(found: SpatialGenes) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"morans_i": found.morans_i})


def _variable(
    context: Context, stats: MatrixStats, flavor: Flavor, folder: Path | None
) -> tuple[BoolArray, pd.DataFrame]:
    """Return the genes that a flavor selects, by batch where batches keep apart, and its statistics of every gene.

    Batches are tested in ``folder``; without a folder they are ignored.
    """
    of_all = cache(partial(_of_flavor, context, stats, flavor, by_batch=False))
    if folder and selects_by_batch(context, stats, lambda: np.flatnonzero(of_all()[0]), folder):
        return _of_flavor(context, stats, flavor, by_batch=True)
    return of_all()


def _of_flavor(
    context: Context, stats: MatrixStats, flavor: Flavor, *, by_batch: bool
) -> tuple[BoolArray, pd.DataFrame]:
    """Return the genes that a flavor selects, and its statistics of every gene."""
    from scrcl.prep.clipped_variance import clip_sums
    from scrcl.prep.hvg import highly_variable

    features, matrix = context.config.features, context.matrix
    moments = _moments(stats, flavor, features.min_cells, by_batch=by_batch)
    clipped = None
    if flavor == "seurat_v3":
        batches = context.covariates.batches if by_batch else None
        codes = np.zeros(matrix.n_obs, np.int32) if batches is None else batches.codes
        clipped = partial(
            clip_sums,
            matrix.x(context.budget.block_rows),
            batch_of_row=np.where(stats.retained, codes, -1),
            n_batches=len(moments),
            reading=context.reading("clipped"),
        )
    return highly_variable(
        flavor,
        moments,
        n_top=features.n_selected(matrix.n_vars),
        clip_sums=clipped,
        gene_names=matrix.var.index,
    )


def _require_genes(min_cells: int, stats: MatrixStats) -> None:
    """Refuse a limit that hardly any gene reaches."""
    enough = stats.gene_cells >= min_cells
    if np.count_nonzero(enough) < _FEWEST_GENES:
        most = int(np.sort(stats.gene_cells)[-_FEWEST_GENES])
        message = (
            f"features.min_cells must leave at least {_FEWEST_GENES} genes; got {min_cells:,}, and "
            f"{np.count_nonzero(enough)} genes are in so many of {np.count_nonzero(stats.retained):,} retained cells. "
            f"Set it to {most:,} or less."
        )
        raise InputError(message)


def _moments(
    stats: MatrixStats, flavor: Flavor, min_cells: int, *, by_batch: bool
) -> list[BatchMoments]:
    """Return the moments of all cells, or of each batch. Genes in too few cells count as seen in none."""
    from scrcl.prep.batch_moments import BatchMoments

    scale, enough = _SCALES[flavor], stats.gene_cells >= min_cells
    if not by_batch:
        n_cells, gene_cells = int(stats.cells_per_batch.sum()), stats.gene_cells
        return [BatchMoments(n_cells, np.where(enough, gene_cells, 0), *stats.moments(scale))]
    return [
        BatchMoments(
            int(stats.cells_per_batch[batch]),
            np.where(enough, gene_cells, 0),
            *stats.moments(scale, batch),
            name or "all cells",
        )
        for batch, (name, gene_cells) in enumerate(
            zip(stats.batches, stats.batch_gene_cells, strict=True)
        )
    ]
