"""The section of the report that shows whether the cells are good ones, sample by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.engine.words import words_of
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Column, Figure, Section, Table

if TYPE_CHECKING:
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.prep.stats import MatrixStats
    from scrcl.report.page import Cell
    from scrcl.typing import FloatArray, IntArray

__all__ = ["quality_section"]

_MOST_GROUPS = 60


class _Measure(NamedTuple):
    """What shows whether a cell is a good one: its names in the table and in a figure, and the value of each cell."""

    name: str
    label: str
    values: FloatArray | IntArray
    is_share: bool = False


def quality_section(context: Context, run: OpenRun) -> Section:
    """Return counts, genes and mitochondrial share of the cells, for each sample or batch."""
    from scrcl.report.spreads import spreads

    stats, cell = run.open(STATS), words_of(run).cell
    groups = _groups(context, f"all {cell}s")
    measures = _measures(stats)
    columns = [Column(f"{cell}s", "text"), Column("number", "number"), Column("left out", "number")]
    for each in measures:
        columns.append(Column(f"{each.name} (median)", "share" if each.is_share else "number"))
        columns += [] if each.is_share else [Column(f"{each.name} (5% to 95%)")]
    rows: list[list[Cell]] = []
    for name, cells in groups:
        row: list[Cell] = [name, len(cells), int((~stats.retained[cells]).sum())]
        for each in measures:
            values = each.values[cells]
            row += [float(np.median(values))] if each.is_share else _spread(values)
        rows.append(row)
    caption = f"All {cell}s of the input, also those that were left out. The maps can be coloured by the same values."
    figures = [
        Figure(
            spreads(
                each.label,
                [(name, each.values[cells]) for name, cells in groups],
                percent=each.is_share,
                logarithmic=not each.is_share,
                cell=cell,
            ),
            f"{each.label[0].upper()}{each.label[1:]}. The line is the median.",
            "svg",
        )
        for each in measures
    ]
    return Section(f"Quality of the {cell}s", figures=figures, table=Table(columns, rows, caption))


def _measures(stats: MatrixStats) -> list[_Measure]:
    """Return what is known of the cells."""
    found = [_Measure("genes", "genes detected", stats.cell_genes)]
    if not stats.already_log:
        found.insert(0, _Measure("counts", "counts", stats.cell_counts))
    if stats.cell_mito.any():
        found.append(_Measure("mitochondrial share", "mitochondrial share", stats.cell_mito, True))
    return found


def _groups(context: Context, every: str) -> list[tuple[str, IntArray]]:
    """Return the names and the cells of the samples or batches of the input; ``every`` cell if there are none."""
    groups = context.covariates.samples or context.covariates.batches
    if groups is None:
        return [(every, np.arange(context.matrix.n_obs))]
    return groups.groups()[:_MOST_GROUPS]


def _spread(values: np.ndarray) -> list[Cell]:
    """Return the median, and the range of most values as text."""
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return [round(float(middle)), f"{low:,.0f} to {high:,.0f}"]
