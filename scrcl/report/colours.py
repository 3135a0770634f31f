"""Colours of the report: clusters, bars and lines."""

from __future__ import annotations

import colorsys

__all__ = ["LINE", "MEMORY_BAR", "SHARE_BAR", "palette"]

_TABLEAU = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#9c755f",
    "#ff9da7", "#3b9b8f", "#d37295", "#8cd17d", "#86bcb6", "#a0cbe8", "#b6992d", "#79706e",
)  # fmt: skip

LINE = _TABLEAU[0]
"""Lines and bars of figures."""

SHARE_BAR = _TABLEAU[0]
"""Bars of shares and seconds in tables."""

MEMORY_BAR = _TABLEAU[4]
"""Bars of memory in tables."""


def palette(n: int) -> list[str]:
    """Return ``n`` colours of which neighbours in the list differ clearly. The first 16 are fixed."""
    more = []
    for i in range(max(n - len(_TABLEAU), 0)):
        # Steps of the golden ratio spread hues evenly, however many follow.
        hue, value = (0.13 + i * 0.61803398875) % 1.0, (0.86, 0.62, 0.74)[i % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.55, 0.75)[i % 2], value)
        more.append(f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}")
    return [*_TABLEAU, *more][:n]
