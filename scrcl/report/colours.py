"""The colours of the report: of clusters, of figures, and of the page itself."""

from __future__ import annotations

import colorsys
from types import MappingProxyType

__all__ = ["DARK_COLOURS", "PAGE_COLOURS", "palette"]

_FIRST_CLUSTERS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#9c755f",
    "#ff9da7", "#3b9b8f", "#d37295", "#8cd17d", "#86bcb6", "#a0cbe8", "#b6992d", "#79706e",
)  # fmt: skip

# The conjugate of the golden ratio: steps of this size around the hue circle never repeat a hue.
_HUE_STEP = 0.61803398875


PAGE_COLOURS = MappingProxyType(
    {
        "text": "#1d2733",
        "muted": "#5d6875",
        "line": "#dfe4ea",
        "panel": "#f5f7f9",
        "background": "#ffffff",
        "bar": _FIRST_CLUSTERS[0],
        "memory-bar": "#b07aa1",
        "note": "#fff7e6",
        "note-edge": "#edc948",
        "strong": "#2a5fa8",
        "faint": "#e3e7ec",
    }
)
"""Colours of the HTML page, by the name of their CSS variable."""


DARK_COLOURS = MappingProxyType(
    {
        "text": "#e6eaef",
        "muted": "#9aa5b1",
        "line": "#333c47",
        "panel": "#1e252d",
        "background": "#14191f",
        "bar": "#6ea0d0",
        "memory-bar": "#c593b4",
        "note": "#2b2617",
        "note-edge": "#b6992d",
        "strong": "#8ec4ff",
        "faint": "#2b333d",
    }
)
"""The same for readers who prefer dark pages."""


def palette(n: int) -> list[str]:
    """``n`` colours as ``#rrggbb``, one per cluster; the first 16 are fixed."""
    extra = []
    for i in range(max(n - len(_FIRST_CLUSTERS), 0)):
        # Saturation and value alternate too, so that similar hues still differ in lightness.
        hue, value = (0.13 + i * _HUE_STEP) % 1.0, (0.86, 0.62, 0.74)[i % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.55, 0.75)[i % 2], value)
        extra.append(f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}")
    return [*_FIRST_CLUSTERS, *extra][:n]
