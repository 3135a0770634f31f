"""Names of categories on a still picture, at their places, as the interactive maps have them.

A name that is moved beside its points must not stand at those of another category: it would name these. Where there is
no such place, the number of a cluster stands alone, and where there is none for that, nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.report.letters import written
from scrcl.report.svg import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL.ImageFont import FreeTypeFont, ImageFont

    from scrcl.typing import FloatArray, IntArray

__all__ = ["MOST_NAMES", "N_SHADES", "name_shades", "shades_of"]

N_SHADES = 8
"""Shades of grey of the letters and their white rims."""

_SIZE, _RIM = 19, 3
_LINE = _SIZE + _RIM
_REACHED = 10
"""Pixels at both ends of a name that belong to it for the eye."""
MOST_NAMES = 60
_REACH = 28
"""Pixels around the place of a name within which most points must be of its category."""


class _Place(NamedTuple):
    code: int
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
    points = np.stack([across, down], axis=1).astype(np.float64)
    places = _places(points, codes, shown)
    for place, name, x, y in _apart(places, points, codes, size):
        on_letters.text((x, y), name, 255, place.font, anchor="mm")
        on_rims.text((x, y), name, 255, place.font, anchor="mm", stroke_width=_RIM)
    shades = shades_of(np.asarray(letters).astype(np.int64))
    return np.where(np.asarray(rims) > 127, shades, -1)


def shades_of(ink: IntArray) -> IntArray:
    """Return the shade of ink of 0 to 255: 0 (black) to ``N_SHADES - 1`` (white)."""
    return (255 - ink) * (N_SHADES - 1) // 255


def _places(points: FloatArray, codes: IntArray, names: Sequence[str]) -> list[_Place]:
    """Return where names belong, those of the largest categories first."""
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
            at_x, at_y = float(at[0]), float(at[1])
            found.append(_Place(code, text, font, at_x, at_y, is_flat, len(own)))
    return sorted(found, key=lambda place: -place.n)


def _apart(
    places: Sequence[_Place], points: FloatArray, codes: IntArray, size: tuple[int, int]
) -> Iterator[tuple[_Place, str, float, float]]:
    """Yield the names that have room and where they are written: inside of the picture, apart, and at their own."""
    width, height = size
    taken: list[tuple[float, float, float]] = []
    for place in places:
        number = place.name.partition(" ")[0]
        for name in (place.name, *([number] if number.isdecimal() else [])):
            half = place.font.getlength(name) / 2 + 2 * _RIM
            x = min(max(place.x, half), width - half)
            lines = (-1.2, 1.2, 0) if place.is_flat else (0, 1, -1)
            free = (
                y
                for y in (place.y + line * _LINE for line in lines)
                if _LINE / 2 <= y <= height - _LINE / 2
                and all(abs(x - x0) >= half + h or abs(y - y0) >= _LINE for x0, y0, h in taken)
                and _is_at_own(points, codes, place.code, (x, y, half))
            )
            y = next(free, None)
            if y is not None:
                taken.append((x, y, half))
                yield place, name, x, y
                break


def _is_at_own(
    points: FloatArray, codes: IntArray, code: int, name: tuple[float, float, float]
) -> bool:
    """Return whether a name hides no more points of others than of its own."""
    x, y, half = name
    across, down = np.abs(points - (x, y)).T
    is_hidden = (across < half + _REACHED) & (down < _LINE / 2)
    hidden = codes[is_hidden]
    return bool(2 * np.count_nonzero(hidden == code) >= len(hidden))
