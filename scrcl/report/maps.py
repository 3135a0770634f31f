"""The interactive maps of the report: positions and columns of cells, packed into the page.

The page draws them on canvases, pixel by pixel, with 700 lines of its own script (``templates/page.js``, and
``templates/save.js``, which saves pictures). A plotting library was weighed: plotly's script alone takes 4.5 MB, half
of what the page may have. Values are bytes, compressed, and unpacked by the browser when they are shown.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from scrcl.report.colours import palette
from scrcl.report.slices import Placed, side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from scrcl.report.tissue_image import TissueImage
    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "MOST_LEVELS",
    "MapColumn",
    "Maps",
    "MarkerKind",
    "category_column",
    "column_of",
    "number_column",
    "packed",
    "payload",
]

MarkerKind: TypeAlias = Literal["text", "number", "score", "p"]

MOST_LEVELS = 200
"""Categories of a column that can be shown."""

_MISSING = 255
_MOST_POSITION = 65_535
"""Positions are whole numbers of 16 bits."""
_STEPS = 254
"""Numbers are shown in so many steps between the smallest and the largest."""


@dataclass(frozen=True)
class MapColumn:
    """A value of each cell that is drawn, by which the maps can be coloured.

    Attributes
    ----------
    group
        Heading under which it is offered: Clusters, Cells or Genes.
    codes
        ndarray of uint8, shape (n_drawn,): number of a category, or a step between ``low`` and ``high``; 255: none.
    levels, colours
        Names of the categories, and their colours. No levels: numbers.
    also
        Another name by which it is found: the id of a gene that is shown by its symbol.
    has_places
        Whether names of categories may stand on the map. Batches are all over it.
    """

    name: str
    group: Literal["Clusters", "Cells", "Genes"]
    codes: IntArray
    levels: Sequence[str] = ()
    colours: Sequence[str] = ()
    low: float = 0.0
    high: float = 1.0
    also: str = ""
    has_places: bool = True


@dataclass(frozen=True)
class Maps:
    """What the interactive part of the page shows.

    Attributes
    ----------
    n_cells
        All cells; those that are drawn may be fewer.
    umap
        ndarray of float, shape (n_drawn, 2); None if there is none.
    space
        Coordinates in the tissue, shape (n_drawn, 2); None if there are none.
    slice_of, slices
        Number of the slice of each drawn cell, and their names.
    images
        Images of the tissue below the slices that have one.
    columns
        The first one colours the maps at first. It has the clusters, under the word for them.
    markers
        Rows of the table of markers: cluster, gene, numbers and texts in the order of ``marker_columns``.
    marker_kinds
        How each column is shown: ``text``, ``number`` (two decimals), ``score`` (one) or ``p`` (a p value).
    cluster_names
        Name of each cluster, with which its number is shown.
    least
        Cells of each cluster that are drawn at least, where there are so many.
    behind
        Cells are new ones, and these are where cells of the run lie, on the same UMAP: ndarray of float, shape
        (n_behind, 2). They are drawn in grey.
    n_run
        All cells of the run.
    cell
        What a row is called: a cell, or a spot.
    """

    n_cells: int
    umap: FloatArray | None
    columns: Sequence[MapColumn]
    space: FloatArray | None = None
    slice_of: IntArray | None = None
    slices: Sequence[str] = ()
    images: Sequence[TissueImage] = ()
    markers: Sequence[Sequence[Any]] = ()
    marker_columns: Sequence[str] = ()
    marker_kinds: Sequence[MarkerKind] = ()
    cluster_names: Sequence[str] = ()
    least: int = 0
    behind: FloatArray | None = None
    n_run: int = 0
    cell: str = "cell"

    @property
    def n_drawn(self) -> int:
        """Cells that are drawn."""
        return len(self.columns[0].codes) if self.columns else 0


def category_column(
    name: str, codes: IntArray, levels: Sequence[str], group: Literal["Clusters", "Cells"]
) -> MapColumn:
    """Return a column of categories.

    Parameters
    ----------
    codes
        ndarray of int, shape (n_drawn,): position in ``levels``, -1 for none.
    levels
        At most `MOST_LEVELS`.
    """
    shown = np.where(codes < 0, _MISSING, codes).astype(np.uint8)
    return MapColumn(name, group, shown, list(levels), palette(len(levels)))


def number_column(
    name: str,
    values: FloatArray,
    group: Literal["Clusters", "Cells", "Genes"],
    limits: tuple[float, float] | None = None,
    also: str = "",
) -> MapColumn:
    """Return a column of numbers, between their smallest and largest or within ``limits``."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    if limits is not None:
        low, high = limits
    else:
        low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 1.0)
    width = high - low if high > low else 1.0
    steps = np.rint(_STEPS * np.clip((np.where(finite, values, low) - low) / width, 0, 1))
    codes = np.where(finite, steps, _MISSING).astype(np.uint8)
    return MapColumn(name, group, codes, low=float(low), high=float(high), also=also)


def column_of(name: str, series: pd.Series) -> MapColumn | None:
    """Return a column of obs; None if it cannot be shown, as with names of cells or too many categories."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(series) or isinstance(series.dtype, pd.CategoricalDtype):
        categories = series.astype("category")
    elif pd.api.types.is_numeric_dtype(series):
        return number_column(name, series.to_numpy(np.float64, na_value=np.nan), "Cells")
    elif series.iloc[: 20 * MOST_LEVELS].nunique() > MOST_LEVELS:  # before all of them are sorted
        return None
    else:
        categories = series.astype("category")
    categories = categories.cat.remove_unused_categories()
    levels = [str(level) for level in categories.cat.categories]
    if not 0 < len(levels) <= MOST_LEVELS:
        return None
    return category_column(name, categories.cat.codes.to_numpy(), levels, "Cells")


def packed(values: np.ndarray) -> str:
    """Return the bytes of an array, compressed, in base64."""
    return base64.b64encode(
        gzip.compress(np.ascontiguousarray(values).tobytes(), 6, mtime=0)
    ).decode()


def payload(maps: Maps) -> str:
    """Return the data of the maps as JSON that can stand in a script element."""
    tree: dict[str, Any] = {
        "n": maps.n_drawn,
        "total": maps.n_cells,
        "columns": [_column(column) for column in maps.columns],
        "markers": _text(
            {
                "columns": list(maps.marker_columns),
                "kinds": list(maps.marker_kinds),
                "rows": [list(r) for r in maps.markers],
            }
        ),
        "names": list(maps.cluster_names),
        "slices": list(maps.slices),
    }
    if maps.umap is not None:
        # Those behind come last: what has a value comes first.
        behind = [] if maps.behind is None else [maps.behind]
        tree["umap"] = _positions(np.concatenate([maps.umap, *behind]))
        tree["new"] = bool(behind)
    if maps.space is not None:
        tree |= _space(maps, maps.space)
    # "</script>" in a name would end the element.
    return json.dumps(tree, separators=(",", ":")).replace("<", "\\u003c")


def _space(maps: Maps, space: FloatArray) -> dict[str, Any]:
    """Return positions in the tissue, the slice of each cell, and the images below them."""
    n_slices = max(len(maps.slices), 1)
    placed = Placed(space, True, np.ones(n_slices), np.zeros((n_slices, 2)))
    if maps.slice_of is not None and n_slices > 1:
        placed = side_by_side(space, maps.slice_of, n_slices)
    tree: dict[str, Any] = {"space": _positions(placed.xy, equal=True)}
    low, unit = placed.xy.min(axis=0), float(np.ptp(placed.xy, axis=0).max()) / _MOST_POSITION
    if placed.has_one_scale:
        tree["space"]["unit"] = unit
    if maps.slice_of is not None:
        tree["slice"] = packed(maps.slice_of.astype(np.uint8))
    if maps.images and unit > 0:
        tree["images"] = [_image(image, placed, low, unit) for image in maps.images]
    return tree


def _image(image: TissueImage, placed: Placed, low: FloatArray, unit: float) -> dict[str, Any]:
    """Return an image and where it lies, in steps of the positions."""
    scale, shift = placed.scale[image.number], placed.shift[image.number]
    corner = (image.corner * scale + shift - low) / unit
    width, height = image.size * scale / unit
    return {
        "slice": image.number,
        "data": base64.b64encode(image.jpeg).decode(),
        **dict(
            zip("xywh", (*(round(float(v), 1) for v in (*corner, width, height)),), strict=True)
        ),
    }


def _text(tree: Any) -> str:
    raw = json.dumps(tree, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()


def _column(column: MapColumn) -> dict[str, Any]:
    return {
        "name": column.name,
        "group": column.group,
        "levels": list(column.levels),
        "colours": list(column.colours),
        "low": column.low,
        "high": column.high,
        "also": column.also,
        "places": column.has_places,
        "data": packed(column.codes),
    }


def _positions(xy: FloatArray, *, equal: bool = False) -> dict[str, Any]:
    """Return positions as 16-bit numbers between the smallest and the largest. ``equal``: one scale for both axes."""
    xy = np.asarray(xy, np.float64)
    low, high = xy.min(axis=0), xy.max(axis=0)
    width = np.maximum(high - low, 1e-30)
    if equal:
        width = np.full(2, width.max())
    steps = np.rint(_MOST_POSITION * (xy - low) / width).astype("<u2")
    return {"x": packed(steps[:, 0]), "y": packed(steps[:, 1]), "equal": equal}
