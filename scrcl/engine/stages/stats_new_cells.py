"""Stage ``stats`` of a prediction: totals of each new cell over the genes of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.new_genes import missing_note, shared_genes
from scrcl.engine.stage import AnnDataKeys, NewCellsStage, Record
from scrcl.engine.stages.stats import KINDS, StatsStage, other_layers
from scrcl.engine.values import values_note
from scrcl.engine.words import words_of
from scrcl.errors import InputError
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix

__all__ = ["NewStatsStage"]


class NewStatsRecord(Record):
    """Which new cells have counts, and which of the run's genes they have."""

    n_cells_retained: int
    already_log: bool
    n_genes_shared: int
    n_genes_selected: int
    n_genes_missing: int
    share_missing: float
    genes_missing: tuple[str, ...]


class NewStatsStage(NewCellsStage[NewStatsRecord]):
    """Reads new cells once: totals over the genes of the run, and the kind of values.

    Every cell with counts is retained: the filters of a run choose the cells to learn from.
    """

    name = "stats"
    record = NewStatsRecord
    gives = (STATS,)
    is_cheap = True

    def check(self, header: CellMatrix, config: RunConfig) -> None:  # noqa: ARG002
        """Refuse new cells that lack most of the selected genes."""
        shared_genes(header, self._run)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return what the same stage of a run takes."""
        return StatsStage().estimate(shape, config)

    def run(self, context: Context, folder: Path) -> NewStatsRecord:
        """Stream the new cells."""
        from scrcl.prep.compute_stats import compute_stats

        shared = shared_genes(context.matrix, self._run)
        matrix, asked = shared.matrix, context.config.features.values
        stats = compute_stats(
            matrix.rows(context.budget.block_rows),
            already_log=KINDS[asked],
            guess=self._run.record(StatsStage).already_log,
            reading=context.reading("stats"),
            cell_name=lambda row: str(matrix.obs.index[row]),
            gene_name=lambda gene: str(matrix.var.index[gene]),
            other_layers=other_layers(matrix, context.config),
        )
        self._require_same_kind(already_log=stats.already_log)
        n_retained = int(stats.retained.sum())
        if not n_retained:
            message = "new cells must have counts in genes of the run; got none. Check the input."
            raise InputError(message)
        stats.save(folder)
        notes = [*values_note(stats, asked)]
        if shared.matched_by:
            notes.append(shared.matched_by)
        if shared.n_missing:
            notes.append(missing_note(shared))
        if n_retained < matrix.n_obs:
            n_out = words_of(self._run).cells(matrix.n_obs - n_retained)
            notes.append(f"{n_out} without counts in the run's genes were left out.")
        return NewStatsRecord(
            n_cells=matrix.n_obs,
            n_cells_retained=n_retained,
            already_log=bool(stats.already_log),
            n_genes_shared=matrix.n_vars,
            n_genes_selected=len(shared.present),
            n_genes_missing=shared.n_missing,
            share_missing=shared.share_missing,
            genes_missing=tuple(shared.missing),
            notes=tuple(notes),
        )

    def headline(self, record: NewStatsRecord) -> dict[str, int]:
        """Return how many selected genes are missing."""
        return {"n_genes_missing": record.n_genes_missing}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return how many selected genes are missing."""
        record = run.record(NewStatsStage)
        return AnnDataKeys(
            uns={
                "n_genes_selected": record.n_genes_selected,
                "n_genes_missing": record.n_genes_missing,
            }
        )

    def section(self, run: OpenRun) -> Section:
        """Return cells and missing genes for the overview."""
        record = run.record(NewStatsStage)
        facts = {
            f"{words_of(self._run).cell}s": f"{record.n_cells_retained:,} of {record.n_cells:,}",
            "selected genes that are missing": (
                f"{record.n_genes_missing:,} of {record.n_genes_selected:,} "
                f"({record.share_missing:.1%})"
            ),
        }
        return Section("Statistics", overview=facts, notes=record.notes)

    def _require_same_kind(self, *, already_log: bool) -> None:
        kinds = {True: "log values", False: "counts"}
        of_run = self._run.record(StatsStage).already_log
        if already_log != of_run:
            message = (
                f"values of the new cells must be {kinds[of_run]}, as in the run; got "
                f"{kinds[already_log]}. Choose a layer of {kinds[of_run]} by `layer`, "
                "or say what they are by `features.values`."
            )
            raise InputError(message)
