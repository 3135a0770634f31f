"""Still pictures of the maps, as PNG or, over an image, JPEG: to copy into slides, and for readers without scripts."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from scrcl.report.letters import letters_note
from scrcl.report.picture_legend import legend_of
from scrcl.report.picture_names import MOST_NAMES, N_SHADES, name_shades

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scrcl.report.maps import MapColumn, Maps
    from scrcl.report.tissue_image import TissueImage
    from scrcl.typing import FloatArray, IntArray

__all__ = ["MAX_PICTURES", "StillPicture", "picture", "picture_notes", "still_pictures"]

MAX_PICTURES = 24
"""Slices that get a picture."""

_WIDTH, _HEIGHT, _MARGIN = 960, 720, 16
_INK = 60_000
"""Pixels that all points of a map cover together, if they do not overlap."""

_INK_IN_SPACE = 200_000
"""In a tissue points lie side by side, and over an image small ones would be lost."""

_OVER_IMAGE, _QUALITY = 0.6, 80
"""How much of a spot covers the image below it; quality of a JPEG."""

_BACKGROUND = 255
_NONE = 254
_NONE_COLOUR = (200, 200, 200)
_SHADES = _NONE - N_SHADES
"""Number of the first shade of the names, black; the last is white. Columns have at most 200 categories."""


class StillPicture(NamedTuple):
    """A picture in base64, with its caption."""

    caption: str
    content: str
    kind: Literal["png", "jpeg"] = "png"


def still_pictures(maps: Maps) -> Iterator[StillPicture]:
    """Yield pictures of the UMAP and of each slice, coloured as the maps are at first."""
    column = maps.columns[0]
    if maps.umap is not None:
        behind = np.empty((0, 2)) if maps.behind is None else maps.behind
        grey = np.full(len(behind), _NONE, np.uint8)
        every = replace(column, codes=np.concatenate([column.codes, grey]))
        pixels = picture(np.concatenate([maps.umap, behind]), every)
        yield StillPicture(f"UMAP, by {column.name}", _encoded(pixels, column.colours))
    if maps.space is None:
        return
    slice_of = np.zeros(maps.n_drawn, int) if maps.slice_of is None else maps.slice_of
    names = list(maps.slices) or ["all"]
    images = {image.number: image for image in maps.images}
    for i, name in enumerate(names[:MAX_PICTURES]):
        rows = np.flatnonzero(slice_of == i)
        if len(rows):
            where = f"{maps.cell.capitalize()}s in space"
            where += "" if len(names) == 1 else f", {name}"
            caption, xy = f"{where}, by {column.name}", maps.space[rows]
            pixels = picture(xy, column, rows=rows, in_space=True, ink=_INK_IN_SPACE)
            if i in images:
                content = _over_image(
                    pixels, column.colours, images[i], _Frame.of(xy, in_space=True)
                )
                yield StillPicture(caption, content, "jpeg")
            else:
                yield StillPicture(caption, _encoded(pixels, column.colours))


def picture_notes(maps: Maps | None) -> tuple[str, ...]:
    """Return what to know about the pictures: which letters of the names they lack."""
    names = () if maps is None else maps.columns[0].levels
    note = letters_note(names) if len(names) <= MOST_NAMES else None
    return () if note is None else (note,)


def picture(
    xy: FloatArray,
    column: MapColumn,
    *,
    rows: IntArray | None = None,
    in_space: bool = False,
    ink: int = _INK,
) -> NDArray[np.uint8]:
    """Return points coloured by category, with the names of the categories and a legend, as numbers of colours.

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
    ink
        Pixels that all points cover together, if they do not overlap.
    """
    codes = column.codes if rows is None else column.codes[rows]
    levels = np.where(codes < min(len(column.levels), _SHADES), codes, _NONE).astype(np.uint8)
    pixels = np.full((_HEIGHT, _WIDTH), _BACKGROUND, np.uint8)
    across, down = _Frame.of(xy, in_space=in_space).pixels_of(xy)
    side = int(np.clip(np.sqrt(ink / max(len(xy), 1)), 2, 14))
    # Points of no category are drawn first, then large categories, so that they do not cover small ones.
    sizes = np.bincount(levels, minlength=256)
    sizes[_NONE] = len(levels)
    order = np.argsort(-sizes[levels], kind="stable")
    middle = (side - 1) / 2
    for dx in range(side):
        for dy in range(side):
            if (dx - middle) ** 2 + (dy - middle) ** 2 > max(side / 2, 1) ** 2:
                continue  # a disc
            rows_of = np.clip(down[order] + dy - side // 2, 0, _HEIGHT - 1)
            pixels[rows_of, np.clip(across[order] + dx - side // 2, 0, _WIDTH - 1)] = levels[order]
    shades = name_shades(across, down, levels, column.levels, (_WIDTH, _HEIGHT))
    squares, letters = legend_of(levels, column.levels, _HEIGHT)
    legend = np.where(squares < 0, _BACKGROUND, squares)
    whole = np.hstack([np.where(shades < 0, pixels, _SHADES + shades), legend])
    whole[:, _WIDTH:][letters >= 0] = _SHADES + letters[letters >= 0]
    return whole.astype(np.uint8)


class _Frame(NamedTuple):
    """Where coordinates lie on a picture."""

    low: FloatArray
    scale: FloatArray
    corner: FloatArray
    in_space: bool

    @classmethod
    def of(cls, xy: FloatArray, *, in_space: bool) -> _Frame:
        """Return the frame that points fill."""
        xy = np.asarray(xy, np.float64)
        low, span = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-30)
        room = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
        scale = room / span
        if in_space:
            scale = np.full(2, scale.min())
        return cls(low, scale, _MARGIN + (room - span * scale) / 2, in_space)

    def pixels_of(self, xy: FloatArray) -> tuple[IntArray, IntArray]:
        """Return the column and row of the pixel of each point."""
        at = np.rint(self.corner + (np.asarray(xy, np.float64) - self.low) * self.scale)
        across, down = at.astype(np.int64).T
        return across, down if self.in_space else _HEIGHT - 1 - down


def _encoded(pixels: NDArray[np.uint8], colours: Sequence[str]) -> str:
    """Return numbers of colours as a PNG in base64."""
    from PIL import Image

    image = Image.fromarray(pixels, "P")
    image.putpalette(_palette(colours))
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _over_image(
    pixels: NDArray[np.uint8], colours: Sequence[str], tissue: TissueImage, frame: _Frame
) -> str:
    """Return points over the image of the tissue, as a JPEG in base64."""
    from PIL import Image

    below = Image.new("RGB", pixels.shape[::-1], "white")
    with Image.open(io.BytesIO(tissue.jpeg)) as image:
        (left, right), (top, bottom) = np.array(
            frame.pixels_of(np.stack([tissue.corner, tissue.corner + tissue.size]))
        )
        size = (max(int(right - left), 1), max(int(bottom - top), 1))
        below.paste(image.resize(size), (int(left), int(top)))
    colour = np.array(_palette(colours), np.float64).reshape(-1, 3)[pixels]
    cover = np.where((pixels < _SHADES) | (pixels == _NONE), _OVER_IMAGE, 1.0)
    cover[pixels == _BACKGROUND] = 0
    mixed = np.asarray(below, np.float64)
    mixed += cover[:, :, None] * (colour - mixed)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(mixed).astype(np.uint8), "RGB").save(
        buffer, format="jpeg", quality=_QUALITY, optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _palette(colours: Sequence[str]) -> list[int]:
    """Return red, green and blue of 256 colours: the categories, shades of the names, none, and the background."""
    found = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours[:_SHADES]]
    found += [[255, 255, 255]] * (256 - len(found))
    found[_SHADES:_NONE] = [[255 * i // (N_SHADES - 1)] * 3 for i in range(N_SHADES)]
    found[_NONE] = list(_NONE_COLOUR)
    return [part for colour in found for part in colour]
