"""Parts of drawings on the page: SVG as text, which takes its colours from the page."""

from __future__ import annotations

import unicodedata
from html import escape

__all__ = ["cells_of", "named", "shortened", "svg_fluid", "svg_open", "svg_text", "text_width"]

_NARROW = frozenset("iljtfr.,:;|'!()[]/ -")

_MOST_NAME = 26
"""Letters of a name in a drawing; all of them are in its title."""


def svg_open(width: float, height: float, label: str) -> str:
    """Return the opening tag of a drawing, sizes in pixels; ``label`` describes it to readers who cannot see it."""
    return (
        f'<svg class="drawing" role="img" aria-label="{escape(label)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
    )


def svg_fluid(height: float, label: str) -> str:
    """Return the opening tag of a drawing that is as wide as its place, with positions across in percent."""
    return (
        f'<svg class="drawing fluid" role="img" aria-label="{escape(label)}" style="height:{height:.0f}px" '
        'xmlns="http://www.w3.org/2000/svg">'
    )


def svg_text(x: float, y: float, text: str, *, anchor: str = "middle", turned: bool = False) -> str:
    """Return a text at a position; ``turned`` texts read upwards."""
    place = (
        f'transform="translate({x:.0f} {y:.0f}) rotate(-90)"'
        if turned
        else f'x="{x:.0f}" y="{y:.0f}"'
    )
    return f'<text {place} text-anchor="{anchor}">{named(text)}</text>'


def text_width(name: str, size: float = 11) -> float:
    """Return how wide a name is at most, in pixels, as it is drawn: capitals and digits are wide, others narrower.

    Letters of Chinese, Japanese and Korean fill a square.
    """
    return size * sum(map(_width_of, shortened(name)))


def _width_of(letter: str) -> float:
    """Return how wide a letter is, in units of its size."""
    if letter in _NARROW:
        return 0.36
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return 0.7 if letter.isupper() or letter.isdigit() else 0.63


def shortened(name: str) -> str:
    """Return a name; one that is too long for a drawing is cut in the middle.

    Names of kindred types begin alike, and differ in the end.
    """
    if len(name) <= _MOST_NAME:
        return name
    end = _MOST_NAME // 2
    return f"{name[: _MOST_NAME - 1 - end].rstrip()}…{name[-end:].lstrip()}"


def cells_of(n: int, cell: str = "cell") -> str:
    """Return a number of cells, or of what ``cell`` calls them, in words."""
    return f"{n:,} {cell}{'' if n == 1 else 's'}"


def named(name: str) -> str:
    """Return a name as the content of an element, safe for HTML; a long one is cut, and whole in a title."""
    title = f"<title>{escape(name)}</title>" if len(name) > _MOST_NAME else ""
    return escape(shortened(name)) + title
