"""The names and colours of the categories beside a still picture, where names on the map would hide each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.report.letters import written
from scrcl.report.picture_names import MOST_NAMES, shades_of
from scrcl.report.svg import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.typing import IntArray

__all__ = ["legend_of"]

_SIZE, _LINE, _MARGIN = 17, 26, 16
_DOT = 12
"""Width and height of the square of a colour."""


def legend_of(codes: IntArray, names: Sequence[str], height: int) -> tuple[IntArray, IntArray]:
    """Return a legend of this height: the category of each pixel and the shade of its letters, -1 elsewhere.

    It has no width for a single category, and with so many that names do not stand on the map either.

    Parameters
    ----------
    codes
        Category of each point. Those that no point has are left out.
    """
    from PIL import Image, ImageDraw

    shown = [int(code) for code in np.unique(codes) if code < len(names)]
    if not 1 < len(shown) <= MOST_NAMES:
        nothing = np.full((height, 0), -1)
        return nothing, nothing
    fonts = written((shortened(names[code]) for code in shown), _SIZE)
    texts = [fonts[shortened(names[code])] for code in shown]
    wide = _DOT + 8 + int(max(font.getlength(text) for text, font in texts)) + _MARGIN
    n_rows = (height - 2 * _MARGIN) // _LINE
    n_columns = -(-len(shown) // n_rows)
    letters = Image.new("L", (_MARGIN + wide * n_columns, height), 0)
    drawn = ImageDraw.Draw(letters)
    squares = np.full((height, letters.width), -1)
    for i, (code, (text, font)) in enumerate(zip(shown, texts, strict=True)):
        left, middle = _MARGIN + wide * (i // n_rows), _MARGIN + _LINE // 2 + _LINE * (i % n_rows)
        squares[middle - _DOT // 2 : middle + _DOT // 2, left : left + _DOT] = code
        drawn.text((left + _DOT + 8, middle), text, 255, font, anchor="lm")
    ink = np.asarray(letters).astype(np.int64)
    return squares, np.where(ink > 0, shades_of(ink), -1)
