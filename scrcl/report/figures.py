"""Figures of the report, as SVG text for the page: curves, histograms, and the tree of the clusters.

They are written as text. That takes milliseconds; a plotting library took a second of each run. And the figures take
the light or dark colours of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.report.svg import cells_of, svg_open, svg_text, text_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["degree_bars", "loss_curves", "merge_lines", "share_bars"]

_MAX_BARS = 60
_MAX_LEAVES = 100
_SHOWN_SHARE = 0.995
"""Share of the cells whose degrees have bars of their own. A long tail would squeeze the others."""

_WIDE = (660, 190)
_SMALL = (210, 160)
"""Width and height of a figure, and of a panel of several, in pixels."""


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
    steps = np.array([row["step"] for row in history], float)
    width, height = _SMALL
    parts = [svg_open(width * len(terms), height, "Loss terms by training step")]
    for i, name in enumerate(terms):
        values = np.array([row.get(name, np.nan) for row in history], float)
        seen = np.isfinite(values)
        axes = _Axes.around(steps, values[seen], left=i * width, size=_SMALL)
        parts += [axes.drawn(), svg_text(axes.left, 12, name, anchor="start")]
        parts.append(axes.curve(steps[seen], values[seen]))
    return "".join([*parts, "</svg>"])


def degree_bars(counts: IntArray, cell: str = "cell") -> str:
    """Histogram of the number of neighbours of a cell, or of what ``cell`` calls it, as SVG.

    Parameters
    ----------
    counts
        ndarray of integers, shape (max_degree + 1,): cells with 0, 1, 2, ... neighbours. The few
        cells beyond the last bar are added to it.
    """
    up_to = np.cumsum(counts)
    last = int(np.searchsorted(up_to, _SHOWN_SHARE * up_to[-1]))
    first = int(np.flatnonzero(counts)[0]) if up_to[-1] else 0
    width = -(-(last + 1 - first) // _MAX_BARS)
    starts = np.arange(first, last + 1, width)
    heights = np.add.reduceat(counts, starts)
    return _bars(starts - 0.5, width, heights, f"neighbours of a {cell}", cell=cell, whole=True)


def share_bars(values: FloatArray, name: str, cell: str = "cell") -> str:
    """Histogram of a value between 0 and 1, as SVG.

    Parameters
    ----------
    values
        ndarray of floats, shape (n_cells,).
    name
        Name of the value, below the axis.
    cell
        What a cell is called.
    """
    heights, edges = np.histogram(values, bins=40, range=(0, 1))
    return _bars(edges[:-1], float(edges[1] - edges[0]), heights, name, cell=cell)


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
    leaves = list(map(str, drawn["ivl"]))
    # scipy puts leaves at 5, 15, 25, ...
    across = np.array([0.0, 10.0 * len(leaves)])
    up = np.array([0.0, max(float(rows[:, 2].max()), 1e-9)])
    axes = _Axes.around(across, up, left=0, size=_WIDE)
    turned = len(leaves) > _MAX_BARS // 2 or max(map(len, leaves)) > 4
    below = max(map(text_width, leaves)) if turned else 14
    height = axes.bottom + below + 12
    parts = [svg_open(_WIDE[0], height, "How clusters join"), axes.drawn(numbers_below=False)]
    for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        parts.append(axes.curve(np.array(x), np.array(y)))
    for i, leaf in enumerate(leaves):
        x = float(axes.x(np.array([5.0 + 10 * i]))[0])
        where = (x + 4, axes.bottom + 6, leaf) if turned else (x, axes.bottom + 14, leaf)
        parts.append(svg_text(*where, anchor="end" if turned else "middle", turned=turned))
    return "".join([*parts, "</svg>"])


def _bars(
    starts: FloatArray,
    width: float,
    heights: IntArray,
    name: str,
    *,
    cell: str,
    whole: bool = False,
) -> str:
    """Return a histogram; ``whole`` numbers are marked at the middle of their bars."""
    ends = np.array([starts[0], starts[-1] + width], float)
    axes = _Axes.around(ends, np.append(heights, 0), left=0, size=_WIDE, whole=whole)
    parts = [svg_open(*_WIDE, f"Histogram of {name}"), axes.drawn()]
    left, right = axes.x(starts + 0.07 * width), axes.x(starts + 0.93 * width)
    tops = axes.y(heights)
    for a, b, top, n in zip(left, right, tops, heights, strict=True):
        if n:
            parts.append(
                f'<rect class="bar" x="{a:.1f}" y="{top:.1f}" width="{b - a:.1f}" height="{axes.bottom - top:.1f}">'
                f"<title>{cells_of(int(n), cell)}</title></rect>"
            )
    parts.append(svg_text((axes.left + axes.right) / 2, _WIDE[1] - 4, name))
    parts.append(svg_text(axes.left - 5, 10, f"{cell}s", anchor="end"))
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Axes:
    """A frame with numbers at the left and below; maps values to pixels."""

    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    whole: bool

    @classmethod
    def around(
        cls,
        x: FloatArray | IntArray,
        y: FloatArray | IntArray,
        *,
        left: float,
        size: tuple[int, int],
        whole: bool = False,
    ) -> _Axes:
        """Return axes that hold these values, in a box of this size that begins at ``left``."""
        width, height = size
        return cls(left + 52, left + width - 10, 20, height - 34, _range_of(x), _range_of(y), whole)

    def x(self, values: FloatArray | IntArray) -> NDArray[np.float64]:
        """Return the horizontal positions of values."""
        low, high = self.x_range
        return self.left + (np.asarray(values, float) - low) / (high - low) * (
            self.right - self.left
        )

    def y(self, values: FloatArray | IntArray) -> NDArray[np.float64]:
        """Return the vertical positions of values."""
        low, high = self.y_range
        return self.bottom - (np.asarray(values, float) - low) / (high - low) * (
            self.bottom - self.top
        )

    def curve(self, x: FloatArray, y: FloatArray) -> str:
        """Return a line through points."""
        points = zip(self.x(x), self.y(y), strict=True)
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        return f'<polyline class="curve" points="{path}"/>'

    def drawn(self, *, numbers_below: bool = True) -> str:
        """Return the two lines and their numbers."""
        line = f"M{self.left:.0f},{self.top:.0f} V{self.bottom:.0f} H{self.right:.0f}"
        parts = [f'<path class="axis" d="{line}"/>']
        below = _ticks(self.x_range, whole=self.whole) if numbers_below else []
        for value, x in zip(below, self.x(np.array(below)), strict=True):
            parts.append(svg_text(x, self.bottom + 14, _number(value)))
        left_of = _ticks(self.y_range)
        for value, y in zip(left_of, self.y(np.array(left_of)), strict=True):
            parts.append(svg_text(self.left - 5, y + 4, _number(value), anchor="end"))
        return "".join(parts)


def _range_of(values: FloatArray | IntArray) -> tuple[float, float]:
    """Return the smallest and largest value, apart from each other."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _ticks(span: tuple[float, float], *, whole: bool = False, about: int = 5) -> list[float]:
    """Return round numbers in a range: multiples of 1, 2 or 5 times a power of ten."""
    low, high = span
    rough = (high - low) / about
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    if whole:
        step = max(round(step), 1)
    first = np.ceil(low / step - 1e-9)
    return [float(step * (first + i)) for i in range(int((high - step * first) / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
