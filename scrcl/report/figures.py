"""Pictures of the report, as text for the page: SVG, or PNG in base64."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.report.colours import LINE, palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrcl.typing import FloatArray, IntArray

__all__ = ["degree_bars", "loss_curves", "merge_lines", "scatter", "share_bars"]

_MIDDLE_POINTS = 500
_MOST_BARS = 60
_SHOWN_SHARE = 0.995
_MOST_LEAVES = 100


def scatter(xy: FloatArray, labels: IntArray, names: Sequence[str], *, equal: bool = False) -> str:
    """Draw points coloured by cluster, each cluster with its name in its middle. Returns a PNG in base64.

    Parameters
    ----------
    xy
        ndarray, shape (n, 2).
    labels
        ndarray of integers, shape (n,): 0 .. len(names) - 1.
    equal
        One scale for both axes, and y downwards, as in images of a tissue.
    """
    figure, axes = _canvas(7.2, 6.0)
    colours = np.array(palette(len(names)))
    order = np.argsort(np.bincount(labels, minlength=len(names))[labels], kind="stable")[::-1]
    size = float(np.clip(24_000 / max(len(xy), 1), 1.5, 28))
    axes.scatter(
        xy[order, 0], xy[order, 1], c=colours[labels[order]], s=size, linewidths=0, rasterized=True
    )
    for cluster, name in enumerate(names):
        inside = labels == cluster
        if inside.any():
            x, y = _middle(xy[inside])
            _halo(axes.text(x, y, name, ha="center", va="center", fontsize=9, weight="bold"))
    axes.set_axis_off()
    if equal:
        axes.set_aspect("equal")
        axes.invert_yaxis()
    return _png(figure)


def loss_curves(history: Sequence[Mapping[str, float]]) -> str:
    """Draw one small panel for each loss term over the steps. Returns SVG."""
    terms = [name for name in history[0] if name not in ("step", "lr")]
    figure, all_axes = _figures(len(terms), 2.35, 1.9)
    steps = [row["step"] for row in history]
    for axes, name in zip(all_axes, terms, strict=True):
        axes.plot(steps, [row[name] for row in history], color=LINE, linewidth=1.4)
        _plain(axes, name)
    return _svg(figure)


def degree_bars(counts: IntArray) -> str:
    """Draw how many cells have 0, 1, 2, ... neighbours. Returns SVG.

    Parameters
    ----------
    counts
        ndarray of integers: cells with 0, 1, 2, ... neighbours. The last bar also holds the few cells with more.
    """
    figure, (axes,) = _figures(1, 7.2, 2.1)
    up_to = np.cumsum(counts)
    last = int(np.searchsorted(up_to, _SHOWN_SHARE * up_to[-1]))
    first = int(np.flatnonzero(counts)[0]) if up_to[-1] else 0
    width = -(-(last + 1 - first) // _MOST_BARS)
    starts = np.arange(first, last + 1, width)
    heights = np.add.reduceat(counts, starts)
    axes.bar(starts + (width - 1) / 2, heights, width=0.86 * width, color=LINE)
    _plain(axes, "")
    axes.set_xlabel("neighbours of a cell", fontsize=8)
    axes.set_ylabel("cells", fontsize=8)
    axes.locator_params(axis="both", integer=True, nbins=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _svg(figure)


def share_bars(values: FloatArray, name: str) -> str:
    """Draw how many cells have each value between 0 and 1. Returns SVG."""
    figure, (axes,) = _figures(1, 7.2, 2.1)
    axes.hist(values, bins=40, range=(0, 1), color=LINE, rwidth=0.86)
    _plain(axes, "")
    axes.set_xlabel(name, fontsize=8)
    axes.set_ylabel("cells", fontsize=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _svg(figure)


def merge_lines(tree: FloatArray, names: Sequence[str]) -> str:
    """Draw a merge tree with named leaves. Heights are square roots. Returns SVG.

    Parameters
    ----------
    tree
        ndarray of float64, shape (n_leaves - 1, 4), as scipy writes linkage. With more than 100 leaves only the upper
        part is drawn; numbers of leaves below it are in brackets.
    """
    from scipy.cluster.hierarchy import dendrogram

    rows = np.array(tree, np.float64)
    rows[:, 2] = np.sqrt(rows[:, 2])
    drawn = dendrogram(
        rows, p=_MOST_LEAVES, truncate_mode="lastp", labels=np.array(names), no_plot=True
    )
    figure, (axes,) = _figures(1, 7.2, 2.3)
    for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        axes.plot(x, y, color=LINE, linewidth=1.2)
    places = 5.0 + 10.0 * np.arange(len(drawn["ivl"]))
    many = len(places) > _MOST_BARS // 2
    axes.set_xticks(places, drawn["ivl"], rotation=90 if many else 0)
    _plain(axes, "")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _plain(axes: Any, title: str) -> None:
    """Give axes small numbers, a title on the left, and only two sides."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _middle(points: FloatArray) -> FloatArray:
    """Return the point with the smallest median distance to the others: a name stands among its cells."""
    from scipy.spatial.distance import cdist

    some = points[:: max(len(points) // _MIDDLE_POINTS, 1)]
    middle: FloatArray = some[np.median(cdist(some, some), axis=1).argmin()]
    return middle


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure and axes that fill it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_axes((0.01, 0.01, 0.98, 0.98))


def _figures(n: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n, height), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def _halo(text: Any) -> None:
    from matplotlib.patheffects import withStroke

    text.set_path_effects([withStroke(linewidth=2.6, foreground="white")])


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140, facecolor="white")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
