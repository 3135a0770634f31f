"""Names of categories on a still picture, at their places, as the interactive maps have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.report.letters import written
from scrcl.report.svg import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.ImageFont import FreeTypeFont, ImageFont

    from scrcl.typing import IntArray

__all__ = ["MOST_NAMES", "N_SHADES", "name_shades"]

N_SHADES = 8
"""Shades of grey of the letters and their white rims."""

_SIZE, _RIM = 19, 3
_LINE = _SIZE + _RIM
MOST_NAMES = 60
_REACH = 28
"""Pixels around the place of a name within which most points must be of its category."""


class _Place(NamedTuple):
    name: str
    font: FreeTypeFont | ImageFont
    x: float
    y: float
    is_flat: bool
    """whether the name would hide its points"""
    n: int


def name_shades(
    across: IntArray, down: IntArray, codes: IntArray, names: Sequence[str], size: tuple[int, int]
) -> IntArray:
    """Return the shade of each pixel: 0 (black) to ``N_SHADES - 1`` (white) where names are, -1 elsewhere.

    A category gets no name if its points are mixed with others. With more than 60 categories none gets one, as names
    would hide the map.

    Parameters
    ----------
    across, down
        Column and row of the pixel of each point.
    codes
        Category of each point; other numbers have no name.
    size
        Width and height of the picture.
    """
    from PIL import Image, ImageDraw

    letters, rims = Image.new("L", size, 0), Image.new("L", size, 0)
    on_letters, on_rims = ImageDraw.Draw(letters), ImageDraw.Draw(rims)
    shown = names if len(names) <= MOST_NAMES else ()
    places = _places(across, down, codes, shown)
    for place, (x, y) in zip(places, _apart(places, size), strict=True):
        if y is None:
            continue
        on_letters.text((x, y), place.name, 255, place.font, anchor="mm")
        on_rims.text((x, y), place.name, 255, place.font, anchor="mm", stroke_width=_RIM)
    shades = (255 - np.asarray(letters).astype(np.int64)) * (N_SHADES - 1) // 255
    return np.where(np.asarray(rims) > 127, shades, -1)


def _places(
    across: IntArray, down: IntArray, codes: IntArray, names: Sequence[str]
) -> list[_Place]:
    """Return where names belong, those of the largest categories first."""
    points = np.stack([across, down], axis=1).astype(np.float64)
    fonts = written(map(shortened, names), _SIZE)
    found = []
    for code, name in enumerate(names):
        own, (text, font) = points[codes == code], fonts[shortened(name)]
        if not (len(own) and text):
            continue
        at = own[np.argmin(((own - np.median(own, axis=0)) ** 2).sum(axis=1))]
        is_near = ((points - at) ** 2).sum(axis=1) <= _REACH**2
        if 2 * np.count_nonzero(codes[is_near] == code) > np.count_nonzero(is_near):
            low, high = np.quantile(own[:, 1], [0.05, 0.95])
            is_flat = bool(high - low < 2 * _LINE)
            found.append(_Place(text, font, float(at[0]), float(at[1]), is_flat, len(own)))
    return sorted(found, key=lambda place: -place.n)


def _apart(places: Sequence[_Place], size: tuple[int, int]) -> list[tuple[float, float | None]]:
    """Return where names are written: inside of the picture and apart; no row where there is no room."""
    width, height = size
    taken: list[tuple[float, float, float]] = []
    found: list[tuple[float, float | None]] = []
    for place in places:
        half = place.font.getlength(place.name) / 2 + 2 * _RIM
        x = min(max(place.x, half), width - half)
        lines = (-1.2, 1.2, 0, -2, 2) if place.is_flat else (0, 1, -1, 2, -2)
        tried = [place.y + line * _LINE for line in lines]
        free = (
            y
            for y in tried
            if _LINE / 2 <= y <= height - _LINE / 2
            and all(abs(x - x0) >= half + h or abs(y - y0) >= _LINE for x0, y0, h in taken)
        )
        y = next(free, None)
        found.append((x, y))
        if y is not None:
            taken.append((x, y, half))
    return found
