"""Stage ``stats``: one read of X for totals of each cell and moments of each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl.engine.learning import method_of
from scrcl.engine.memory import ANNOTATION_BYTES, STREAM_BYTES, block_values
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.values import COUNTS, kinds_of_others, values_note
from scrcl.engine.words import words_in, words_of
from scrcl.errors import InputError
from scrcl.markers.listed import ListedGenes
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.stats_new_cells import NewStatsStage
    from scrcl.engine.words import Words
    from scrcl.io.matrix import CellMatrix
    from scrcl.prep.stats import CellFilter, MatrixStats
    from scrcl.typing import BoolArray

__all__ = [
    "KINDS",
    "TOTALS_BYTES",
    "StatsStage",
    "moments_bytes",
    "other_layers",
    "require_few_clusters",
]

KINDS = {"auto": None, "counts": False, "log": True}
"""Whether the values are logarithms, by ``features.values``."""

TOTALS_BYTES = 25
"""Totals of one cell, and its position among the stored values."""

_SUMMED_BYTES = 42
"""The same while they are summed, with those of a block and copies that medians are found in."""

_MOMENT_BYTES = 56
"""Sums of one gene in one batch."""

_BYTES_PER_VALUE = 24
"""A value of X while it is summed: encoded, decoded, and as the compiled loops want it."""

_EMPTY_COUNTS, _FULL_TIMES, _FULL_DROPLETS = 100, 20, 0.005
"""Droplets are likely empty where half have at most so many counts, and a share has so many times as many. Matrices of
cells have a few times as many there: panels of genes with 50 counts in a cell, 6 times."""

_VALUES_PER_S = 63e6
"""Values of X that a core sums in a second, from a sharded store (``bench.reduce``)."""


class StatsRecord(Record):
    """Which cells are retained, and what the values are."""

    n_cells_retained: int
    n_cells_empty: int
    n_genes_seen: int
    n_genes_mitochondrial: int
    median_mitochondrial_share: float
    is_counts: bool
    already_log: bool
    median_genes_per_cell: float
    median_counts_per_cell: float


class StatsStage(Stage[StatsRecord]):
    """Reads X once: totals of each cell, moments of each gene and batch, counts or log values."""

    name = "stats"
    record = StatsRecord
    gives = (STATS,)
    is_cheap = True

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse fewer cells than neighbours, before they are read."""
        _require_cells(config, header.n_obs)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return the totals of all cells and the sums of all genes and batches, and blocks of values."""
        n, moments = shape.n_cells, moments_bytes(shape)
        # Annotations are read before the run starts; their memory may not be free again yet.
        annotations = ANNOTATION_BYTES * n if shape.n_batches > 1 else 0
        return Estimate(
            STREAM_BYTES + _SUMMED_BYTES * n + 4 * moments + annotations,
            # Counts have two sets of moments: of the values, and of their logarithms.
            int(block_values(shape) * _BYTES_PER_VALUE) + 2 * moments,
            shared=True,
            disk_bytes=17 * n + moments,
            read_bytes=shape.x_bytes,
            seconds=0.8,
            shared_seconds=shape.n_values / _VALUES_PER_S,
        )

    def run(self, context: Context, folder: Path) -> StatsRecord:
        """Stream X, and refuse data that later stages cannot use."""
        from scrcl.prep.compute_stats import compute_stats

        matrix, config, mito = context.matrix, context.config, _mitochondrial(context)
        stats = compute_stats(
            matrix.rows(context.budget.block_rows),
            keep=_cell_filter(config),
            mito=mito,
            batches=context.covariates.batches,
            with_raw=config.features.flavor in ("seurat_v3", "variance")
            or (config.features.flavor == "auto" and config.spatial),
            already_log=KINDS[config.features.values],
            reading=context.reading("stats"),
            cell_name=lambda row: str(matrix.obs.index[row]),
            gene_name=lambda gene: str(matrix.var.index[gene]),
            other_layers=other_layers(matrix, config),
        )
        n_retained, n_seen = int(stats.retained.sum()), int((stats.gene_cells > 0).sum())
        _require_counts(config, stats)
        _require_enough(config, n_retained, n_seen)
        method_of(config).check(stats, config.method_settings)
        stats.save(folder)
        return StatsRecord(
            n_cells=matrix.n_obs,
            n_cells_retained=n_retained,
            n_cells_empty=int((stats.cell_counts == 0).sum()),
            n_genes_seen=n_seen,
            n_genes_mitochondrial=int(mito.sum()),
            median_mitochondrial_share=float(np.median(stats.cell_mito)),
            is_counts=bool(stats.is_counts),
            already_log=bool(stats.already_log),
            median_genes_per_cell=float(np.median(stats.cell_genes)),
            median_counts_per_cell=float(np.median(stats.cell_counts)),
            notes=(
                *values_note(
                    stats, config.features.values, _counts_elsewhere(matrix, config, stats)
                ),
                *_cells_note(stats, n_retained, words_in(context)),
                *_droplets_note(stats),
            ),
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return cells and counts of each gene."""
        stats = run.open(STATS)
        return AnnDataKeys(
            var={"n_cells_by_counts": stats.gene_cells, "total_counts": stats.gene_counts}
        )

    def section(self, run: OpenRun) -> Section:
        """Return retained cells and the kind of values for the overview."""
        record, words = run.record(StatsStage), words_of(run)
        facts = {
            f"{words.cell}s": f"{record.n_cells_retained:,} of {record.n_cells:,}",
            "values": _kind(record),
            f"genes in a {words.cell} (median)": f"{record.median_genes_per_cell:,.0f}",
        }
        if record.n_genes_mitochondrial:
            facts["mitochondrial share (median)"] = (
                f"{record.median_mitochondrial_share:.1%}, of {record.n_genes_mitochondrial:,} gene"
                f"{'' if record.n_genes_mitochondrial == 1 else 's'}"
            )
        return Section("Statistics", overview=facts, notes=record.notes)

    def for_new_cells(self, run: OpenRun) -> NewStatsStage:
        """Return the stage that reads new cells over the genes of the run."""
        from scrcl.engine.stages.stats_new_cells import NewStatsStage

        return NewStatsStage(run)


def moments_bytes(shape: Shape) -> int:
    """Return the bytes of the sums of all genes in all batches."""
    return _MOMENT_BYTES * shape.n_vars * shape.n_batches


def other_layers(matrix: CellMatrix, config: RunConfig) -> list[str]:
    """Return the layers that are not read, which a message may name."""
    return [name for name in matrix.layers if name != config.layer]


def _counts_elsewhere(matrix: CellMatrix, config: RunConfig, stats: MatrixStats) -> list[str]:
    """Return the other matrices with counts, where the values are none and nothing says that they are meant."""
    if stats.is_counts or config.features.values != "auto":
        return []
    return [name for name, kind in kinds_of_others(matrix, config.layer).items() if kind == COUNTS]


def _cell_filter(config: RunConfig) -> CellFilter:
    from scrcl.prep.stats import CellFilter

    features = config.features
    return CellFilter(
        min_genes=features.min_genes,
        max_counts=np.inf if features.max_counts is None else features.max_counts,
        max_mito=1.0 if features.max_mito is None else features.max_mito,
    )


def _mitochondrial(context: Context) -> BoolArray:
    """Return which genes are mitochondrial, by their names or symbols."""
    features = context.config.features
    genes, prefix = ListedGenes.of_var(context.matrix.var), features.mito_prefix.upper()
    pairs = zip(genes.names, genes.shown(), strict=True)
    mito: BoolArray = np.array(
        [any(text.upper().startswith(prefix) for text in pair) for pair in pairs], dtype=bool
    )
    if features.max_mito is not None and not mito.any():
        message = (
            f"features.max_mito must have mitochondrial genes to use; no name or symbol of a gene begins with "
            f"{features.mito_prefix!r}. Set features.mito_prefix, or leave max_mito out."
        )
        raise InputError(message)
    return mito


def _require_counts(config: RunConfig, stats: MatrixStats) -> None:
    """Refuse settings that need counts where the values are something else."""
    features = config.features
    for name, asked, fits in (
        ("flavor = seurat_v3", features.flavor == "seurat_v3", stats.is_counts),
        ("max_mito", features.max_mito is not None, not stats.already_log),
    ):
        if asked and not fits:
            found = "log values" if stats.already_log else "not whole numbers"
            message = (
                f"features.{name} must have counts; the values are {found}. "
                "Choose counts by `layer`, or leave the setting out."
            )
            raise InputError(message)


def _require_cells(config: RunConfig, n_cells: int) -> None:
    name, k = config.searched_neighbors
    smallest = 3 if k == "auto" else int(k) + 2
    if n_cells >= smallest:
        return
    features = config.features
    limits = {
        "min_genes": features.min_genes,
        "max_counts": features.max_counts,
        "max_mito": features.max_mito,
    }
    filters = ", ".join(f"features.{name} = {value}" for name, value in limits.items() if value)
    widen = f"Widen the filters ({filters})" if filters else f"Lower {name}"
    if not n_cells and not filters:
        message = "The matrix must have counts; all of its values are zero. Check the input, or choose another layer."
        raise InputError(message)
    message = (
        f"cells that have counts and pass the filters must be at least {smallest} for "
        f"{smallest - 2} neighbours; got {n_cells}. {widen}, or check the input."
    )
    raise InputError(message)


def _require_enough(config: RunConfig, n_cells: int, n_genes: int) -> None:
    """Refuse too few cells or genes for the settings, now that the filters have run."""
    _require_cells(config, n_cells)
    if n_genes < 2:
        message = f"genes seen in any cell must be at least 2; got {n_genes}. Check the input."
        raise InputError(message)
    require_few_clusters(config, n_cells, "cells with counts")


def require_few_clusters(config: RunConfig, n_cells: int, what: str) -> None:
    """Refuse more clusters than there are cells."""
    k = config.n_clusters
    numbers = {"n_clusters": () if k == "auto" else (k,), "cluster.also": config.cluster.also}
    for name, asked in numbers.items():
        if max(asked, default=0) > n_cells:
            message = (
                f"{name} must be at most the number of {what} ({n_cells}); got {max(asked)}. "
                "Give a smaller number."
            )
            raise InputError(message)


def _cells_note(stats: MatrixStats, n_retained: int, words: Words) -> tuple[str, ...]:
    n_cells = len(stats.retained)
    if n_retained == n_cells:
        return ()
    n_empty = int((stats.cell_counts == 0).sum())
    n_out = n_cells - n_retained
    were = "was" if n_out == 1 else "were"
    return (f"{words.cells(n_out)} {were} left out, {n_empty:,} without counts.",)


def _droplets_note(stats: MatrixStats) -> tuple[str, ...]:
    """Return a note where most cells have next to no counts and a few have many, as in a matrix of all droplets."""
    counts = stats.cell_counts[stats.retained]
    middle, high = np.quantile(counts, (0.5, 1 - _FULL_DROPLETS))
    if not stats.is_counts or middle > _EMPTY_COUNTS or high < _FULL_TIMES * middle:
        return ()
    note = (
        f"Half of the {len(counts):,} cells have at most {middle:,.0f} counts, and 1 in {1 / _FULL_DROPLETS:.0f} has "
        f"{high:,.0f} or more: most may be empty droplets. Give the filtered matrix, or leave them out by "
        "`features.min_genes=200`."
    )
    return (note,)


def _kind(record: StatsRecord) -> str:
    if record.already_log:
        return "log values"
    return "counts" if record.is_counts else "counts that are not whole numbers"
