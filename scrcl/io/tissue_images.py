"""Images of a tissue as scanpy and squidpy keep them: ``uns["spatial"][library]``, with the scale of each.

Only the part of an image that is asked for is read, and of a large part only every second or third pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from anndata.io import read_elem

from scrcl.io.slots import element_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray

__all__ = ["ImagePart", "libraries_of", "part_of_image"]

_KINDS = ("lowres", "hires")
_ENOUGH = 300
"""Pixels of the longer side of a part from which the smaller image is good enough."""

_MOST_READ = 1_200
"""Pixels of a side that are read at most."""

_LEAST_INSIDE = 0.9
"""Share of the spots that lie within an image that is theirs."""


class ImagePart(NamedTuple):
    """A part of an image, and where it lies among the coordinates of the spots."""

    pixels: NDArray[np.uint8]
    """red, green and blue, shape (height, width, 3)"""
    corner: FloatArray
    """coordinates of the upper left corner, shape (2,)"""
    size: FloatArray
    """width and height in units of the coordinates, shape (2,)"""


def libraries_of(source: Any) -> dict[str, Any]:
    """Return the libraries in ``uns["spatial"]`` of a store or an AnnData, by name; none where there are no images."""
    uns = element_of(source, "uns")
    spatial: Any = uns["spatial"] if hasattr(uns, "keys") and "spatial" in uns else {}
    if not hasattr(spatial, "keys"):
        return {}
    return {str(name): spatial[name] for name in spatial if hasattr(spatial[name], "keys")}


def part_of_image(library: Any, places: FloatArray, *, margin: float) -> ImagePart | None:
    """Return the part of the image of a library that lies under some spots.

    Parameters
    ----------
    places
        Coordinates of the spots, in pixels of the full image: ndarray of float, shape (n_spots, 2).
    margin
        What is shown around the spots, as a share of their longer side.

    Returns
    -------
    ImagePart or None
        None if there is no image with its scale, or the spots do not lie within it.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    around = margin * max(float((high - low).max()), 1e-30)
    found = None
    for kind in _KINDS:
        stored = _stored(library, kind)
        if stored is None:
            continue
        image, scale = stored
        shape = np.array([image.shape[1], image.shape[0]])
        if ((places >= 0) & (places * scale <= shape)).all(axis=1).mean() < _LEAST_INSIDE:
            continue
        first = np.floor(np.clip((low - around) * scale, 0, shape)).astype(int)
        last = np.ceil(np.clip((high + around) * scale, 0, shape)).astype(int)
        if (last - first).min() < 1:
            continue
        found = image, scale, first, last
        if (last - first).max() >= _ENOUGH:
            break
    return None if found is None else _read(*found)


def _stored(library: Any, kind: str) -> tuple[Any, float] | None:
    """Return an image that is not read yet, and its pixels for a unit of the coordinates."""
    images, scales = (
        library[key] if key in library and hasattr(library[key], "keys") else {}
        for key in ("images", "scalefactors")
    )
    name = f"tissue_{kind}_scalef"
    if kind not in images or name not in scales:
        return None
    image, scale = images[kind], scales[name]
    scale = float(np.asarray(read_elem(scale) if hasattr(scale, "attrs") else scale).squeeze())
    shape: tuple[int, ...] = getattr(image, "shape", ())
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return (image, scale) if is_image and np.isfinite(scale) and scale > 0 else None


def _read(image: Any, scale: float, first: NDArray[Any], last: NDArray[Any]) -> ImagePart:
    step = max(int(-(-(last - first).max() // _MOST_READ)), 1)
    part = image[first[1] : last[1] : step, first[0] : last[0] : step]
    return ImagePart(_as_bytes(np.asarray(part)), first / scale, (last - first) / scale)


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return red, green and blue as bytes: fractions, bytes and other whole numbers are told by type and range."""
    shown = values if values.ndim == 3 else values[:, :, None]
    shown = np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown[:, :, :3]
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    numbers = np.nan_to_num(shown.astype(np.float32))
    largest = numbers.max(initial=0)
    # Fractions reach 1, bytes 255, and other whole numbers are as bright as their largest.
    most = 1.0 if largest <= 1 and values.dtype.kind == "f" else max(largest, 255.0)
    found: NDArray[np.uint8] = np.rint(255 * np.clip(numbers / most, 0, 1)).astype(np.uint8)
    return found
