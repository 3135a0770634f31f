"""Stage ``markers``: the genes that mark each cluster, from one more read of X."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from scrcl._atomic import atomic_path, remove
from scrcl._contract import Estimate
from scrcl._settings import Settings
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.memory import ANNOTATION_BYTES, KEPT_BYTES, STREAM_BYTES, block_values
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.words import words_in
from scrcl.markers.artifacts import MARKERS, PROFILES, PROFILES_FILE
from scrcl.markers.listed import ListedGenes
from scrcl.markers.ranking import OrderRule, for_spreadsheets, scanpy_entry, with_names
from scrcl.markers.scores import Test
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.compare_genes import Compared
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.words import Words
    from scrcl.prep.stats import MatrixStats

__all__ = ["MarkersSettings", "MarkersStage", "held_back_note", "write_marker_file"]

_BYTES_PER_VALUE = 40
"""A value of X while it is sorted by gene: encoded, decoded, sorted, and its cluster."""

_BYTES_PER_SUMMED_VALUE = 16
"""A value while it is added to the sum of its batch and cluster: in float64, with its gene."""

_VALUES_PER_S = 40e6
"""Values of X that a core sorts and adds in a second."""

_PLANNED_CLUSTERS = 50
"""Clusters that disk is planned for."""

_FILE, _SUMS_FILE = "markers.csv", "pseudobulk.h5ad"


class MarkersSettings(Settings):
    """Marker genes of the clusters."""

    test: Test = Field(
        "wilcoxon", description="Test of each cluster against all other cells, as in scanpy."
    )
    tie_correct: bool = Field(
        False, description="Correct the variance of Wilcoxon's rank sum for ties, as in scanpy."
    )
    within_batches: bool = Field(
        True,
        description="With batches, compare a cluster with the other cells of each batch, and combine the batches; "
        "where there are too many of them, with all other cells.",
    )
    n_genes: int = Field(100, ge=1, description="Number of genes listed for each cluster.")
    min_fold_change: float = Field(
        1.0, description="Genes with a smaller log2 fold change are listed after the others."
    )
    max_share_out: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Genes that a larger share of the other cells expresses are common ones.",
    )
    common_fold_change: float = Field(
        2.0,
        description="Common genes with a smaller log2 fold change are listed after the others. Of two groups no gene "
        "is common.",
    )

    def rule(self) -> OrderRule:
        """Return which genes are listed first."""
        return OrderRule(self.min_fold_change, self.max_share_out, self.common_fold_change)


class MarkersRecord(Record):
    """How markers were found.

    Attributes
    ----------
    is_within
        Whether clusters were compared with cells of their own batches.
    n_held_back
        Common genes (``markers.max_share_out``) that are listed after the others of a cluster.
    """

    test: str
    n_bins: int
    n_reads: int
    is_within: bool = False
    n_held_back: int = 0


class MarkersStage(Stage[MarkersRecord]):
    """Compares each cluster with all other cells, over all genes of the input."""

    name = "markers"
    settings = MarkersSettings
    record = MarkersRecord
    gives = (MARKERS, PROFILES)
    redo_settings = ("markers",)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the histograms of all genes, and blocks of values."""
        from scrcl.engine.compare_genes import MOST_READS
        from scrcl.markers.values import bins_and_parts, table_bytes

        tables, n_reads = table_bytes(shape.n_vars), 1
        per_cell, per_value = 12 + KEPT_BYTES, _BYTES_PER_VALUE
        if config.markers.within_batches and shape.n_batches > 1:
            _, n_reads = bins_and_parts(shape.n_vars, _PLANNED_CLUSTERS * shape.n_batches)
            n_reads = n_reads if n_reads <= MOST_READS else 1
            # The histograms of one batch, or of all together, and sums: of the tests, and of counts.
            tables = int(2.25 * tables)
            per_cell += 8 + ANNOTATION_BYTES
            per_value += _BYTES_PER_SUMMED_VALUE
        return Estimate(
            # Ranks are computed from some genes at a time, in float64.
            STREAM_BYTES + tables + per_cell * shape.n_cells + 60 * 10**6,
            int(block_values(shape) * per_value) + 8 * shape.n_vars,
            disk_bytes=8 * _PLANNED_CLUSTERS * shape.n_vars,
            shared=True,
            read_bytes=n_reads * shape.x_bytes,
            seconds=0.5 + 5e-9 * tables * n_reads,
            shared_seconds=n_reads * shape.n_values / _VALUES_PER_S,
        )

    def run(self, context: Context, folder: Path) -> MarkersRecord:
        """Write ``markers.csv`` into the folder and into OUT, and with batches sums of counts into OUT."""
        from scrcl.engine.compare_genes import compared
        from scrcl.markers.next_clusters import with_next
        from scrcl.markers.ranking import marker_table, n_held_back

        settings, matrix = context.config.markers, context.matrix
        rule = settings.rule()
        stats = context.open(STATS)
        clusters, batches = stats.of_all_rows(context.open(LABELS)), context.covariates.batches
        found = compared(
            matrix,
            stats,
            clusters,
            settings,
            batches=None if batches is None or not settings.within_batches else batches.codes,
            block_rows=context.budget.block_rows,
            reading=lambda: context.reading("markers"),
        )
        found.profiles.save(folder / PROFILES_FILE)
        table = marker_table(
            found.scores,
            ListedGenes.of_var(matrix.var),
            n_top=settings.n_genes,
            rule=rule,
        )
        table = with_next(table, found.profiles, matrix.var.index)
        table.to_csv(folder / _FILE, index=False)
        write_marker_file(context.folder.path, table, {})
        remove(context.folder.path / _SUMS_FILE)  # of an earlier run, with other clusters
        if found.sums is not None:
            _write_sums(found, context)
        return MarkersRecord(
            n_cells=int((clusters >= 0).sum()),
            files=(_FILE,),
            test=settings.test,
            n_bins=found.n_bins,
            n_reads=found.n_reads,
            is_within=found.pairs is not None,
            n_held_back=n_held_back(found.scores, n_top=settings.n_genes, rule=rule),
            notes=() if batches is None else (_note(found, stats, words_in(context)),),
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the table, and the same under scanpy's key."""
        table = run.open(MARKERS)
        if not len(table):  # one cluster
            return AnnDataKeys(uns={"markers": table})
        entry = scanpy_entry(table, groupby="scrcl", test=run.config.markers.test)
        return AnnDataKeys(uns={"markers": table}, uns_other={"rank_genes_groups": entry})

    def section(self, run: OpenRun) -> Section | None:
        """Return the note on p values; the genes themselves are shown with the clusters."""
        record = run.record(MarkersStage)
        return Section("Marker genes", notes=record.notes) if record.notes else None


def held_back_note(n: int, settings: MarkersSettings, words: Words) -> str:
    """Return that common genes are listed after the others, in one sentence."""
    several = n > 1
    return (
        f"{n:,} gene{'s' if several else ''} that more than {settings.max_share_out:.0%} of the other {words.cell}s "
        f"express {'are' if several else 'is'} listed after all others, with a log2 fold change below "
        f"{settings.common_fold_change:g} (markers.common_fold_change)."
    )


def write_marker_file(folder: Path, table: pd.DataFrame, names: Mapping[str, str]) -> None:
    """Write the table of markers for readers, ``markers.csv``, with the names that clusters have."""
    with atomic_path(folder / _FILE) as partial:
        for_spreadsheets(with_names(table, names)).to_csv(partial, index=False)


def _write_sums(found: Compared, context: Context) -> None:
    """Write sums of counts, batch by cluster, into OUT."""
    from scrcl.markers.pseudobulk import columns_of_donors, table_of_sums

    batches, pairs = context.covariates.batches, found.pairs
    assert batches is not None, "pairs are of batches"
    assert pairs is not None, "sums are of pairs"
    assert found.sums is not None
    names = batches.names, [str(cluster) for cluster in range(int(pairs.clusters.max()) + 1)]
    columns = context.config.batch_key or "batch", "scrcl"
    more = columns_of_donors(context.matrix.fresh_obs(), batches.codes)
    table = table_of_sums(found.sums, pairs, names, columns, context.matrix.var.index, more)
    with atomic_path(context.folder.path / _SUMS_FILE) as partial:
        table.write_h5ad(partial)


def _note(found: Compared, stats: MatrixStats, words: Words) -> str:
    """Return what p values of several batches mean, and what to test in their place."""
    if found.sums is not None:
        sums = _SUMS_FILE
    elif stats.already_log:
        sums = f"sums of counts by {words.batch}, which a run on counts can add up; the values here are logarithms"
    else:
        sums = f"sums of counts by {words.batch} (`scrcl.pseudobulk`)"
    return f"P values count {words.cell}s, not {words.batches}. To compare {words.batches} or conditions, test {sums}."
