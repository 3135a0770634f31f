"""The clusters in each group of cells, as a figure of the page with its legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.report.colours import palette
from scrcl.report.drawings import composition_bars
from scrcl.report.page import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.typing import IntArray

__all__ = ["composition_figure"]

_MOST_GROUPS = 60


def composition_figure(
    counts: IntArray,
    groups: Sequence[str],
    clusters: Sequence[str],
    what: tuple[str, str],
    *,
    cell: str = "cell",
) -> Figure:
    """Return stacked bars of the clusters in each group.

    Parameters
    ----------
    counts
        ndarray of int, shape (n_groups, n_clusters).
    what
        What a cluster and a group are: cluster and batch, domain and slice.
    cell
        What a cell is called.
    """
    n, colours = len(groups), palette(len(clusters))
    drawn = composition_bars(
        counts[:_MOST_GROUPS], groups[:_MOST_GROUPS], clusters, colours, cell=cell
    )
    caption = f"Shares of the {what[0]}s in each {what[1]}."
    if n > _MOST_GROUPS:
        caption += f" The first {_MOST_GROUPS} of {n:,}."
    legend = list(zip(clusters, colours, strict=True))
    return Figure(drawn, caption, "svg", wide=True, legend=legend)
