"""Images of the tissue below the maps of its slices, where the input has them with their scale."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._warnings import logger_of
from scrcl.report.tissue_image import MOST_IMAGES, TissueImage, tissue_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scrcl.engine.context import Context
    from scrcl.io.tissue_images import ImagePart
    from scrcl.typing import FloatArray, IntArray

__all__ = ["images_of"]

_LIBRARY, _FILE = "library_id", "sample"
_MARGIN = 0.025
"""What is shown around the spots, as a share of the longer side of the slice: less than half of the gap to the next."""

_OVERLAP = 0.2
"""Share of the smaller slice from which two slices lie on each other, and cannot have one image."""

_log = logger_of(__name__)


def images_of(
    context: Context, rows: IntArray, places: FloatArray, slice_of: IntArray, slices: Sequence[str]
) -> list[TissueImage]:
    """Return the image of each slice that has one.

    Parameters
    ----------
    rows
        Rows of the input that are drawn.
    places
        Their coordinates, shape (n_drawn, 2).
    slice_of, slices
        Number of the slice of each, and names of the slices.
    """
    from scrcl.io.tissue_images import libraries_of

    if len(slices) > MOST_IMAGES:
        return []
    matrix, obs = context.matrix, context.matrix.obs
    of = [np.flatnonzero(slice_of == number) for number in range(len(slices))]
    files = np.zeros(len(rows), int)
    if "samples" in matrix.identity:
        files = obs[_FILE].cat.codes.to_numpy()[rows]
    parts: dict[int, ImagePart] = {}
    for number, source in enumerate(matrix.sources):
        own = [i for i, cells in enumerate(of) if len(cells) and (files[cells] == number).all()]
        if not own:
            continue
        try:
            with source() as held:
                found = _parts(
                    libraries_of(held), obs, rows, {i: of[i] for i in own}, places, slices
                )
        except Exception as error:  # noqa: BLE001 - a picture only adds to the report
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            _log.warning("the report has no image of the tissue: it cannot be read: %s", reason)
            continue
        parts |= found
    return [
        tissue_image(number, *part, n_images=len(parts)) for number, part in sorted(parts.items())
    ]


def _parts(
    libraries: Mapping[str, Any],
    obs: pd.DataFrame,
    rows: IntArray,
    of: Mapping[int, IntArray],
    places: FloatArray,
    slices: Sequence[str],
) -> dict[int, ImagePart]:
    """Return the part of an image for each slice of one file. Several slices may lie on one image, side by side."""
    from scrcl.io.tissue_images import part_of_image

    found = {}
    for number, cells in of.items():
        named = _named(libraries, obs, rows[cells], slices[number])
        if (
            named is None
            and len(libraries) == 1
            and _lie_apart([places[own] for own in of.values()])
        ):
            (named,) = libraries
        if named is None:
            continue
        part = part_of_image(libraries[named], places[cells], margin=_MARGIN)
        if part is not None:
            found[number] = part
    return found


def _named(
    libraries: Mapping[str, Any], obs: pd.DataFrame, rows: IntArray, name: str
) -> str | None:
    """Return the library of a slice, by the name of the slice or by the column of the libraries."""
    if name in libraries or _LIBRARY not in obs:
        return name if name in libraries else None
    values = set(map(str, obs[_LIBRARY].iloc[rows].unique()))
    return next(iter(values)) if len(values) == 1 and values <= set(libraries) else None


def _lie_apart(parts: Sequence[FloatArray]) -> bool:
    """Return whether slices lie side by side in one coordinate system."""
    boxes = [(part.min(axis=0), part.max(axis=0)) for part in parts]
    for (low, high), (low2, high2) in combinations(boxes, 2):
        common = np.maximum(np.minimum(high, high2) - np.maximum(low, low2), 0).prod()
        if common > _OVERLAP * min((high - low).prod(), (high2 - low2).prod()):
            return False
    return True
