"""Still pictures of the maps, as PNG: to copy into slides, and for readers without scripts."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.report.picture_names import N_SHADES, name_shades

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.report.maps import MapColumn, Maps
    from scrcl.typing import FloatArray, IntArray

__all__ = ["MAX_PICTURES", "picture", "still_pictures"]

MAX_PICTURES = 24
"""Slices that get a picture."""

_WIDTH, _HEIGHT, _MARGIN = 960, 720, 16
_INK = 60_000
"""Pixels that all points of a map cover together, if they do not overlap."""

_BACKGROUND = 255
_NONE = 254
_NONE_COLOUR = (200, 200, 200)
_SHADES = _NONE - N_SHADES
"""Number of the first shade of the names, black; the last is white. Columns have at most 200 categories."""


def still_pictures(maps: Maps) -> Iterator[tuple[str, str]]:
    """Yield a caption and a PNG in base64 for the UMAP and for each slice, coloured as the maps are at first."""
    column = maps.columns[0]
    if maps.umap is not None:
        behind = np.empty((0, 2)) if maps.behind is None else maps.behind
        grey = np.full(len(behind), _NONE, np.uint8)
        every = replace(column, codes=np.concatenate([column.codes, grey]))
        yield f"UMAP, by {column.name}", picture(np.concatenate([maps.umap, behind]), every)
    if maps.space is None:
        return
    slice_of = np.zeros(maps.n_drawn, int) if maps.slice_of is None else maps.slice_of
    names = list(maps.slices) or ["all"]
    for i, name in enumerate(names[:MAX_PICTURES]):
        rows = np.flatnonzero(slice_of == i)
        if len(rows):
            where = f"{maps.cell.capitalize()}s in space"
            where += "" if len(names) == 1 else f", {name}"
            yield (
                f"{where}, by {column.name}",
                picture(maps.space[rows], column, rows=rows, in_space=True),
            )


def picture(
    xy: FloatArray, column: MapColumn, *, rows: IntArray | None = None, in_space: bool = False
) -> str:
    """Return points coloured by category, with the names of the categories, as a PNG in base64.

    Parameters
    ----------
    xy
        ndarray of float, shape (n, 2).
    column
        Categories of all cells that are drawn.
    rows
        Which of them the points are; None: all.
    in_space
        Whether both axes have one scale and y points down, as in an image of a tissue.
    """
    from PIL import Image

    codes = column.codes if rows is None else column.codes[rows]
    levels = np.where(codes < min(len(column.levels), _SHADES), codes, _NONE).astype(np.uint8)
    pixels = np.full((_HEIGHT, _WIDTH), _BACKGROUND, np.uint8)
    across, down = _places(np.asarray(xy, np.float64), in_space=in_space)
    side = int(np.clip(np.sqrt(_INK / max(len(xy), 1)), 2, 14))
    # Points of no category are drawn first, then large categories, so that they do not cover small ones.
    sizes = np.bincount(levels, minlength=256)
    sizes[_NONE] = len(levels)
    order = np.argsort(-sizes[levels], kind="stable")
    for dx in range(side):
        for dy in range(side):
            rows_of = np.clip(down[order] + dy - side // 2, 0, _HEIGHT - 1)
            pixels[rows_of, np.clip(across[order] + dx - side // 2, 0, _WIDTH - 1)] = levels[order]
    shades = name_shades(across, down, levels, column.levels, (_WIDTH, _HEIGHT))
    pixels = np.where(shades < 0, pixels, _SHADES + shades).astype(np.uint8)
    image = Image.fromarray(pixels, "P")
    image.putpalette(_palette(column.colours))
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _places(xy: FloatArray, *, in_space: bool) -> tuple[IntArray, IntArray]:
    """Return the column and row of the pixel of each point."""
    low, span = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-30)
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
    scale = room / span
    if in_space:
        scale = np.full(2, scale.min())
    at = np.rint(_MARGIN + (xy - low) * scale + (room - span * scale) / 2).astype(np.int64)
    return at[:, 0], at[:, 1] if in_space else _HEIGHT - 1 - at[:, 1]


def _palette(colours: Sequence[str]) -> list[int]:
    """Return red, green and blue of 256 colours: the categories, shades of the names, none, and the background."""
    found = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours[:_SHADES]]
    found += [[255, 255, 255]] * (256 - len(found))
    found[_SHADES:_NONE] = [[255 * i // (N_SHADES - 1)] * 3 for i in range(N_SHADES)]
    found[_NONE] = list(_NONE_COLOUR)
    return [part for colour in found for part in colour]
