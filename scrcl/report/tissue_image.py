"""The image of a tissue below the map of a slice: a small JPEG, and where it lies."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray

__all__ = ["MOST_IMAGES", "TissueImage", "tissue_image"]

MOST_IMAGES = 60
"""Slices that may have an image. Those of more would be stamps."""

_SIDE, _LEAST_SIDE = 600, 60
_OF_FULL_SIZE = 6
"""Images of so many slices have full size; of more, each is smaller."""

_BYTES, _BYTES_OF_ALL = 150_000, 1_500_000
"""Most bytes of an image, and of all."""

_QUALITY, _SMALLER = 80, 0.8


@dataclass(frozen=True)
class TissueImage:
    """An image below the spots of a slice.

    Attributes
    ----------
    number
        Number of the slice.
    jpeg
        The image.
    corner, size
        Coordinates of its upper left corner, and its width and height in their unit.
    """

    number: int
    jpeg: bytes
    corner: FloatArray
    size: FloatArray


def tissue_image(
    number: int, pixels: NDArray[np.uint8], corner: FloatArray, size: FloatArray, *, n_images: int
) -> TissueImage:
    """Return an image that is small enough for the page.

    Parameters
    ----------
    pixels
        Red, green and blue, shape (height, width, 3).
    corner, size
        See `TissueImage`.
    n_images
        How many the page has.
    """
    from PIL import Image

    image = Image.fromarray(pixels, "RGB")
    side = _SIDE * min(1.0, (_OF_FULL_SIZE / max(n_images, 1)) ** 0.5)
    most = min(_BYTES, _BYTES_OF_ALL // max(n_images, 1))
    while True:
        factor = min(1.0, side / max(image.size))
        small = image.resize([max(round(factor * each), 1) for each in image.size])
        buffer = io.BytesIO()
        small.save(buffer, format="jpeg", quality=_QUALITY, optimize=True)
        if buffer.tell() <= most or side <= _LEAST_SIDE:
            return TissueImage(number, buffer.getvalue(), np.asarray(corner), np.asarray(size))
        side *= _SMALLER
