"""The section of the report that shows whether the cells are good ones, sample by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.prep.artifacts import STATS
from scrcl.report.page import Column, Figure, Section, Table

if TYPE_CHECKING:
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.prep.stats import MatrixStats
    from scrcl.typing import FloatArray, IntArray

__all__ = ["quality_section"]

_MOST_GROUPS = 60


def quality_section(context: Context, run: OpenRun) -> Section:
    """Return counts, genes and mitochondrial share of the cells, for each sample or batch."""
    stats, groups = run.open(STATS), _groups(context)
    columns = [
        Column("cells", "text"),
        Column("number", "number"),
        Column("left out", "number"),
        *(
            []
            if stats.already_log
            else [Column("counts (median)", "number"), Column("counts (5% to 95%)")]
        ),
        Column("genes (median)", "number"),
        Column("genes (5% to 95%)"),
        *([Column("mitochondrial share (median)", "share")] if stats.cell_mito.any() else []),
    ]
    rows = []
    for name, cells in groups:
        values = [] if stats.already_log else _spread(stats.cell_counts[cells])
        values += _spread(stats.cell_genes[cells])
        if stats.cell_mito.any():
            values.append(float(np.median(stats.cell_mito[cells])))
        rows.append([name, len(cells), int((~stats.retained[cells]).sum()), *values])
    caption = "All cells of the input, also those that were left out. The maps can be coloured by the same values."
    return Section(
        "Quality of the cells", figures=_figures(stats, groups), table=Table(columns, rows, caption)
    )


def _groups(context: Context) -> list[tuple[str, IntArray]]:
    """Return the names and the cells of the samples or batches of the input; all cells as one if there are none."""
    groups = context.covariates.samples or context.covariates.batches
    if groups is None:
        return [("all cells", np.arange(context.matrix.n_obs))]
    return groups.groups()[:_MOST_GROUPS]


def _figures(stats: MatrixStats, groups: list[tuple[str, IntArray]]) -> list[Figure]:
    """Return how counts, genes and mitochondrial shares are spread."""
    from scrcl.report.spreads import spreads

    shown: list[tuple[str, FloatArray | IntArray, dict[str, bool]]] = [
        ("genes detected", stats.cell_genes, {"logarithmic": True})
    ]
    if not stats.already_log:
        shown.insert(0, ("counts", stats.cell_counts, {"logarithmic": True}))
    if stats.cell_mito.any():
        shown.append(("mitochondrial share", stats.cell_mito, {"percent": True}))
    return [
        Figure(
            spreads(label, [(name, values[cells]) for name, cells in groups], **how),
            f"{label[0].upper()}{label[1:]}. The line is the median.",
            "svg",
        )
        for label, values, how in shown
    ]


def _spread(values: np.ndarray) -> list[int | str | float]:
    """Return the median, and the range of most values as text."""
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return [round(float(middle)), f"{low:,.0f} to {high:,.0f}"]
