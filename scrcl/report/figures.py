"""Figures of the report, as SVG text for the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.report.colours import FIGURE_COLOUR, palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrcl.typing import FloatArray, IntArray

__all__ = ["degree_bars", "loss_curves", "merge_lines", "share_bars", "stacked_bars"]

_MAX_BARS = 60
_MAX_LEAVES = 100
_SHOWN_SHARE = 0.995
"""Share of the cells whose degrees have bars of their own. A long tail would squeeze the others."""


def loss_curves(history: Sequence[Mapping[str, float]]) -> str:
    """One small panel for each loss term, over the training steps, as SVG.

    Parameters
    ----------
    history
        At least one record with ``step`` and the loss terms. ``lr`` is left out.
    """
    # Phases of training may have terms of their own.
    terms = [
        name
        for name in dict.fromkeys(n for row in history for n in row)
        if name not in ("step", "lr")
    ]
    figure, all_axes = _panels(len(terms), 2.35, 1.9)
    steps = [row["step"] for row in history]
    for axes, name in zip(all_axes, terms, strict=True):
        values = [row.get(name, np.nan) for row in history]
        axes.plot(steps, values, color=FIGURE_COLOUR, linewidth=1.4)
        _plain(axes, name)
    return _svg(figure)


def degree_bars(counts: IntArray) -> str:
    """Histogram of the number of neighbours of a cell, as SVG.

    Parameters
    ----------
    counts
        ndarray of integers, shape (max_degree + 1,): cells with 0, 1, 2, ... neighbours. The few
        cells beyond the last bar are added to it.
    """
    figure, (axes,) = _panels(1, 7.2, 2.1)
    up_to = np.cumsum(counts)
    last = int(np.searchsorted(up_to, _SHOWN_SHARE * up_to[-1]))
    first = int(np.flatnonzero(counts)[0]) if up_to[-1] else 0
    width = -(-(last + 1 - first) // _MAX_BARS)
    starts = np.arange(first, last + 1, width)
    heights = np.add.reduceat(counts, starts)
    axes.bar(starts + (width - 1) / 2, heights, width=0.86 * width, color=FIGURE_COLOUR)
    _plain(axes, "")
    axes.set_xlabel("neighbours of a cell", fontsize=8)
    axes.set_ylabel("cells", fontsize=8)
    axes.locator_params(axis="both", integer=True, nbins=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _svg(figure)


def share_bars(values: FloatArray, name: str) -> str:
    """Histogram of a value between 0 and 1, as SVG.

    Parameters
    ----------
    values
        ndarray of floats, shape (n_cells,).
    name
        Name of the value, below the axis.
    """
    figure, (axes,) = _panels(1, 7.2, 2.1)
    axes.hist(values, bins=40, range=(0, 1), color=FIGURE_COLOUR, rwidth=0.86)
    _plain(axes, "")
    axes.set_xlabel(name, fontsize=8)
    axes.set_ylabel("cells", fontsize=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _svg(figure)


def stacked_bars(shares: FloatArray, rows: Sequence[str], parts: Sequence[str]) -> str:
    """One horizontal bar for each row, divided into coloured parts, as SVG.

    Parameters
    ----------
    shares
        ndarray of floats, shape (n_rows, n_parts); rows sum to 1.
    rows, parts
        Their names. Parts are named beside the bars.
    """
    height = 0.7 + 0.19 * max(len(rows), len(parts))
    figure, (axes,) = _panels(1, 7.2, height)
    left, at = np.zeros(len(rows)), np.arange(len(rows))
    for part, name, colour in zip(shares.T, parts, palette(len(parts)), strict=True):
        # A name that begins with an underscore would be left out of the legend.
        label = name if not name.startswith("_") else f" {name}"
        axes.barh(at, part, left=left, height=0.82, color=colour, label=label)
        left = left + part
    axes.set_yticks(at, rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _plain(axes, "")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return _svg(figure)


def merge_lines(tree: FloatArray, names: Sequence[str]) -> str:
    """Dendrogram of a merge tree, as SVG; heights are square roots of the merge costs.

    Parameters
    ----------
    tree
        ndarray of float64, shape (n_leaves - 1, 4): a linkage matrix in the format of scipy. With
        more than 100 leaves only the upper part is drawn. Numbers in brackets count the leaves below.
    names
        Names of the leaves.
    """
    from scipy.cluster.hierarchy import dendrogram

    rows = np.array(tree, np.float64)
    rows[:, 2] = np.sqrt(rows[:, 2])  # costs are squared distances; roots keep low merges visible
    drawn = dendrogram(
        rows, p=_MAX_LEAVES, truncate_mode="lastp", labels=np.array(names), no_plot=True
    )
    figure, (axes,) = _panels(1, 7.2, 2.3)
    for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        axes.plot(x, y, color=FIGURE_COLOUR, linewidth=1.2)
    # scipy puts leaves at 5, 15, 25, ...
    ticks = 5.0 + 10.0 * np.arange(len(drawn["ivl"]))
    axes.set_xticks(ticks, drawn["ivl"], rotation=90 if len(ticks) > _MAX_BARS // 2 else 0)
    _plain(axes, "")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _plain(axes: Any, title: str) -> None:
    """Give axes small numbers, a title on the left, and no frame at the top and right."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _panels(n: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """Return a figure with ``n`` axes side by side, each of this size in inches.

    Figures are made without pyplot, which would keep them alive and choose a window system.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n, height), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def _svg(figure: Any) -> str:
    # matplotlib would lay the figure out in each of two passes, at the cost of two more drawings.
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # HTML allows no XML declaration inside
