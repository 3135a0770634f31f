"""Coordinates that a run needs of a tissue: where they are read, what is refused, and what the user should know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError
from scrcl.io.named_coordinates import read_named_coordinates, suggested_coordinates

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from scrcl.io.labels import CellLabels
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, FloatArray

__all__ = [
    "array_numbers",
    "coordinates_by_name",
    "coordinates_of_tissue",
    "notes_of_tissue",
    "require_neighbours",
]

_SPATIAL = "spatial"
_IN_TISSUE = "in_tissue"
_ARRAY = ("array_row", "array_col")


def coordinates_by_name(matrix: CellMatrix, name: str) -> FloatArray:
    """Return what the setting ``coordinates`` names, as it is given.

    Raises
    ------
    InputError
        They cannot be read, or are not finite.
    """
    coordinates = read_named_coordinates(matrix, name)
    _require_finite(coordinates, matrix, _called(name))
    return coordinates


def coordinates_of_tissue(
    matrix: CellMatrix, samples: CellLabels | None, *, name: str | None, named: FloatArray | None
) -> FloatArray:
    """Return the coordinates that make the graph: those that ``coordinates`` names, or ``obsm["spatial"]``.

    Parameters
    ----------
    name, named
        The setting, and what `coordinates_by_name` has read by it.

    Raises
    ------
    InputError
        There are none, they are not finite, or they are the same for all cells, or for all of a sample.
    """
    if named is None:
        named = _stored(matrix)
    varies = np.ptp(named, axis=0) > 0 if len(named) else np.ones(3, bool)
    # A flat tissue may come with a third coordinate that is the same everywhere; then it may still be a grid.
    flat = named if varies.all() or named.shape[1] == 2 else named[:, _flat(varies)]
    _require_apart(flat, samples, _called(name))
    return flat


def array_numbers(obs: pd.DataFrame) -> FloatArray | None:
    """Return the row and column of each spot in its array, as Space Ranger writes them; None without them."""
    import pandas as pd

    if any(name not in obs or not pd.api.types.is_numeric_dtype(obs[name]) for name in _ARRAY):
        return None
    return obs[list(_ARRAY)].to_numpy(np.float64, na_value=np.nan)


def require_neighbours(
    coordinates: FloatArray, samples: CellLabels | None, radius: float | None
) -> None:
    """Refuse coordinates where no cell can have a neighbour, before X is read."""
    from scrcl.graph.spatial import require_shared_samples, spatial_knn

    if samples is not None:
        require_shared_samples(samples)
    if radius is not None:
        spatial_knn(coordinates, 1, samples=samples, radius=radius)


def notes_of_tissue(obs: pd.DataFrame) -> Iterator[str]:
    """Yield how many spots lie outside the tissue."""
    if _IN_TISSUE not in obs:
        return
    off = np.isin(obs[_IN_TISSUE].astype(str).str.lower(), ["0", "0.0", "false"])
    if off.any():
        yield (
            f"{int(off.sum()):,} of {len(off):,} spots lie outside the tissue (obs[{_IN_TISSUE!r}] is 0) and are "
            "clustered with the others. Leave them out of the input, or give Space Ranger's filtered matrix."
        )


def _called(name: str | None) -> str:
    """Return what messages call the coordinates."""
    return f'obsm["{_SPATIAL}"]' if name is None else f"coordinates ({name})"


def _stored(matrix: CellMatrix) -> FloatArray:
    if _SPATIAL not in matrix.obsm:
        suggested = suggested_coordinates(matrix)
        remedy = (
            "Name them by `coordinates` (columns of obs such as x,y, or a CSV file), or leave out `spatial=True`."
            if suggested is None
            else f"If they are {suggested}, give `coordinates={suggested!r}`."
        )
        others = f" Other coordinates: {', '.join(sorted(matrix.obsm))}." if matrix.obsm else ""
        message = (
            'spatial must find two or three numeric coordinates for each cell in obsm["spatial"]; '
            f"{_found_instead(matrix)}. {remedy}{others}"
        )
        raise InputError(message)
    coordinates = np.asarray(matrix.obsm[_SPATIAL])
    _require_finite(coordinates, matrix, _called(None))
    return coordinates


def _found_instead(matrix: CellMatrix) -> str:
    """Return what an input without usable coordinates has in their place, and which of several inputs that is."""
    from scrcl.io.coordinates import coordinate_keys
    from scrcl.io.slots import described_slot, element_of

    for number, source in enumerate(matrix.sources, start=1):
        with source() as held:
            found = described_slot(held, "obsm", _SPATIAL)
            usable = _SPATIAL in coordinate_keys(element_of(held, "obsm") or {})
        if not usable:
            which = (
                f"input {number} of {len(matrix.sources)}"
                if len(matrix.sources) > 1
                else "the input"
            )
            return f"{which} has {found}"
    return "the input has none"


def _require_finite(coordinates: FloatArray, matrix: CellMatrix, what: str) -> None:
    finite = np.isfinite(coordinates).all(axis=1)
    if not finite.all():
        name = matrix.obs.index[int(np.argmin(finite))]
        n_wrong = int((~finite).sum())
        cells = f"cell {name}" if n_wrong == 1 else f"{n_wrong:,} cells, the first is {name}"
        message = f"{what} must be finite; got NaN or infinity in {cells}. Remove or repair them."
        raise InputError(message)


def _flat(varies: BoolArray) -> list[int]:
    """Return the axes of a tissue without one along which nothing varies, but at least two."""
    constant = int(np.flatnonzero(~varies)[-1])
    return [axis for axis in range(len(varies)) if axis != constant]


def _require_apart(coordinates: FloatArray, samples: CellLabels | None, what: str) -> None:
    """Refuse coordinates that are the same for all cells, or for all of a sample."""
    if _are_one(coordinates):
        message = (
            f"{what} must differ between cells; got the same for all {len(coordinates):,}. "
            "Check the coordinates."
        )
        raise InputError(message)
    for name, rows in [] if samples is None else samples.groups():
        if _are_one(coordinates[rows]):
            message = (
                f"{what} must differ between the cells of a sample; got the same for all {len(rows):,} of {name}. "
                "Check the coordinates, or leave this sample out."
            )
            raise InputError(message)


def _are_one(coordinates: FloatArray) -> bool:
    return len(coordinates) > 1 and not np.ptp(coordinates, axis=0).any()
