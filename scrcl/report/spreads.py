"""How a number is spread over the cells of each group, as SVG that takes its colours from the page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from scrcl.report.svg import cells_of, named, shortened, svg_open, svg_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.typing import FloatArray, IntArray

__all__ = ["spreads"]

_WIDTH, _HEIGHT, _LETTER = 300, 26, 6.2
_BINS = 60
_ENDS = (0.001, 0.999)
"""Quantiles at which the axis ends: single cells far off would squeeze all others."""


def spreads(
    label: str,
    groups: Sequence[tuple[str, FloatArray | IntArray]],
    *,
    logarithmic: bool = False,
    percent: bool = False,
    cell: str = "cell",
) -> str:
    """Return the shape of the values of each group, one below the other, with a line at the median.

    Parameters
    ----------
    label
        What the values are.
    groups
        Names, and finite values of the cells of each.
    logarithmic
        Whether the axis is; values below 1 count as 1.
    percent
        Whether values are shares.
    cell
        What a cell is called.
    """
    scaled = [_scaled(values, logarithmic=logarithmic) for _, values in groups]
    every = np.concatenate(scaled) if scaled else np.empty(0)
    low, high = np.quantile(every, _ENDS) if len(every) else (0.0, 1.0)
    high = max(high, low + 1e-9)
    left = 14 + _LETTER * max((len(shortened(name)) for name, _ in groups), default=1)
    bottom = 24 + _HEIGHT * len(groups)
    parts = [
        svg_open(left + _WIDTH + 28, bottom + 22, f"{label} by group"),
        svg_text(left + _WIDTH / 2, 14, label),
    ]
    for row, ((name, values), at) in enumerate(zip(groups, scaled, strict=True)):
        base = 24 + _HEIGHT * (row + 1) - 4
        parts.append(
            f'<text x="{left - 8:.0f}" y="{base - 5:.0f}" text-anchor="end">{named(name)}</text>'
        )
        if not len(values):
            continue
        middle = float(np.median(values))
        about = f"{name}: median {_shown(middle, percent=percent)}, {cells_of(len(values), cell)}"
        parts.append(f"<g><title>{escape(about)}</title>{_shape(at, low, high, left, base)}")
        x = left + _WIDTH * float(np.clip((np.median(at) - low) / (high - low), 0, 1))
        parts.append(
            f'<line class="middle" x1="{x:.1f}" x2="{x:.1f}" y1="{base - _HEIGHT + 6}" y2="{base}"/></g>'
        )
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        text = _shown(10**value if logarithmic else value, percent=percent)
        parts.append(svg_text(left + _WIDTH * share, bottom + 12, text))
    return "".join([*parts, "</svg>"])


def _scaled(values: FloatArray | IntArray, *, logarithmic: bool) -> FloatArray:
    wide = np.asarray(values, np.float64)
    return np.log10(np.maximum(wide, 1)) if logarithmic else wide


def _shape(values: FloatArray, low: float, high: float, left: float, base: float) -> str:
    """Return the outline of a smoothed histogram, as high as a row."""
    counts, _ = np.histogram(np.clip(values, low, high), _BINS, (low, high))
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], "same")
    heights = smooth / max(smooth.max(), 1e-9) * (_HEIGHT - 6)
    points = [
        f"{left + _WIDTH * (i + 0.5) / _BINS:.1f},{base - height:.1f}"
        for i, height in enumerate(heights)
    ]
    ends = f"{left:.1f},{base:.1f}", f"{left + _WIDTH:.1f},{base:.1f}"
    return f'<polygon class="spread" points="{ends[0]} {" ".join(points)} {ends[1]}"/>'


def _shown(value: float, *, percent: bool) -> str:
    if percent:
        return f"{value:.1%}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
