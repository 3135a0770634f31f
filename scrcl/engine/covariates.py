"""Coordinates, samples and batches of the cells, as the settings name them.

They are read once, before the output folder is touched, checked, and made part of the run's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.folder import fingerprint_of, fingerprint_of_array
from scrcl.errors import InputError
from scrcl.graph.lattice import find_layout, to_scale
from scrcl.io.places import read_places, suggested_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from scrcl.engine.config import RunConfig
    from scrcl.graph.lattice import Layout
    from scrcl.io.labels import CellLabels
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, FloatArray

__all__ = ["Covariates", "batch_columns", "batch_names", "read_batches", "read_covariates"]

_SPATIAL = "spatial"
_IN_TISSUE = "in_tissue"

_LEAST_CELLS = 2
"""Mean number of cells of a batch, at least. Batches of one to five cells count, numbers of each cell do not."""


@dataclass(frozen=True)
class Covariates:
    """Coordinates, sample and batch of each cell; None where no setting names them."""

    coordinates: FloatArray | None = None
    """shape (n_cells, 2) or (n_cells, 3)"""
    samples: CellLabels | None = None
    batches: CellLabels | None = None
    layout: Layout | None = None
    """kind of the coordinates, which are to scale: numbers of rows and columns have become positions"""
    notes: tuple[str, ...] = ()
    """what the user should know before the work begins"""
    places: FloatArray | None = None
    """what ``coordinates`` names, as it is given: shape (n_cells, 2) or (n_cells, 3)"""

    @property
    def n_batches(self) -> int:
        """Number of batches; one where none are named."""
        return 1 if self.batches is None else max(len(self.batches.names), 1)

    def of(self, cells: BoolArray) -> Covariates:
        """Return the covariates of some cells."""
        return Covariates(
            None if self.coordinates is None else self.coordinates[cells],
            None if self.samples is None else self.samples.of(cells),
            None if self.batches is None else self.batches.of(cells),
            self.layout,
            self.notes,
            None if self.places is None else self.places[cells],
        )

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of each covariate that is there."""
        columns = {"samples": self.samples, "batches": self.batches}
        hashes = {
            name: fingerprint_of(column.names, fingerprint_of_array(column.codes))
            for name, column in columns.items()
            if column is not None
        }
        shown = self.places if self.coordinates is None else self.coordinates
        if shown is not None:
            hashes["coordinates"] = fingerprint_of_array(shown)
        return hashes


def read_covariates(matrix: CellMatrix, config: RunConfig) -> Covariates:
    """Read the coordinates, samples and batches that the settings name. No other annotation is kept in memory.

    Raises
    ------
    InputError
        A column or the coordinates are missing or incomplete; the batches are measurements, or have hardly two cells
        each; no two cells are as near as ``graph.radius``; or there are too many batches for balanced neighbours.
    """
    samples = batches = None
    notes: tuple[str, ...] = ()
    if config.sample_key is not None or config.batch_key is not None:
        obs = matrix.fresh_obs()
        samples = _read_column(obs, config.sample_key, "sample")
        batches = read_batches(obs, config.batch_key)
        notes = tuple(_notes_of_types(obs, config))
        # Slices have checks of their own, and may be named by their depth.
        if batches is not None and config.batch_key not in (None, config.sample_key):
            _require_batches(obs, str(config.batch_key), batches)
    places = None if config.coordinates is None else read_places(matrix, config.coordinates)
    if places is not None:
        _require_finite(places, matrix, repr(config.coordinates))
    read = Covariates(samples=samples, batches=batches, notes=notes, places=places)
    if config.spatial:
        given = _read_coordinates(matrix, places)
        _require_places(given, samples)
        read = replace(
            read, coordinates=to_scale(given, samples), layout=find_layout(given, samples)
        )
        _require_neighbours(given, samples, config.graph.radius)
        read = replace(read, notes=(*read.notes, *_notes_of_tissue(matrix, samples)))
    if config.graph.balanced:
        from scrcl.graph.balanced import require_few_batches

        require_few_batches(read.n_batches)
    return read


def _require_batches(obs: pd.DataFrame, key: str, batches: CellLabels) -> None:
    """Refuse columns of measurements, and batches that hardly any cells share."""
    import pandas as pd

    for name in batch_columns(obs, key):
        column = obs[name]
        if not pd.api.types.is_float_dtype(column):
            continue
        values = column.to_numpy(float)
        parts = values[values != np.round(values)]
        if len(parts):
            message = (
                f"batch_key must name a column of batches; got {name!r}, which holds {column.nunique():,} different "
                f"numbers such as {parts[0]:.6g}. Name the column of the donors, samples or studies. If its numbers do "
                "name batches, make them text first."
            )
            raise InputError(message)
    n_batches, n_cells = len(batches.names), len(batches.codes)
    if n_cells > 1 and n_cells < _LEAST_CELLS * n_batches:
        message = (
            f"batch_key must name a column with values that cells share; got {key!r}, with {n_batches:,} values for "
            f"{n_cells:,} cells. Name the column of the batch."
        )
        raise InputError(message)


def _notes_of_types(obs: pd.DataFrame, config: RunConfig) -> Iterator[str]:
    """Yield which columns of the batch look like cell types, where their differences would be removed."""
    from scrcl.engine.batch_columns import type_like_columns

    removes = config.group("correct").method != "none" or config.graph.balanced
    if config.batch_key is None or not removes:
        return
    for name in type_like_columns(obs, batch_columns(obs, config.batch_key)):
        yield (
            f"obs[{name!r}] looks like cell types, not batches. If so, leave it out of `batch_key`: the correction "
            "joins types."
        )


def _notes_of_tissue(matrix: CellMatrix, samples: CellLabels | None) -> Iterator[str]:
    """Yield that several inputs are taken for one tissue, and how many spots lie beside the tissue."""
    if samples is None and "samples" in matrix.identity:
        yield (
            "The inputs are taken for parts of one tissue: their cells may be neighbours. If each is a slice with "
            "coordinates of its own, run again into another folder with `sample_key='sample'`."
        )
    obs = matrix.fresh_obs()
    if _IN_TISSUE not in obs:
        return
    off = np.isin(obs[_IN_TISSUE].astype(str).str.lower(), ["0", "0.0", "false"])
    if off.any():
        yield (
            f"{int(off.sum()):,} of {len(off):,} spots lie beside the tissue (obs[{_IN_TISSUE!r}] is 0) and are "
            "clustered with the others. Leave them out of the input, or give Space Ranger's filtered matrix."
        )


def _require_neighbours(
    coordinates: FloatArray, samples: CellLabels | None, radius: float | None
) -> None:
    """Refuse coordinates where no cell can have a neighbour, before X is read."""
    from scrcl.graph.spatial import require_shared_samples, spatial_knn

    if samples is not None:
        require_shared_samples(samples)
    if radius is not None:
        spatial_knn(coordinates, 1, samples=samples, radius=radius)


def batch_columns(obs: pd.DataFrame, key: str) -> list[str]:
    """Return the columns of obs that ``batch_key`` names: one, or several separated by commas."""
    return [key] if key in obs else [name.strip() for name in key.split(",")]


def batch_names(obs: pd.DataFrame, columns: list[str]) -> pd.Series[str]:
    """Return the name of the batch of each cell; with several columns, each combination is a batch."""
    names = obs[columns[0]].astype(str)
    for column in columns[1:]:
        names = names + " / " + obs[column].astype(str)
    return names


def read_batches(obs: pd.DataFrame, key: str | None) -> CellLabels | None:
    """Return the batch of each cell, by a column of obs or several; None without a key."""
    import pandas as pd

    from scrcl.io.labels import CellLabels

    columns = [] if key is None else batch_columns(obs, key)
    read = [_read_column(obs, column, "batch") for column in columns]
    if len(read) < 2:
        return read[0] if read else None
    codes, names = pd.factorize(batch_names(obs, columns), sort=True)
    return CellLabels(codes.astype(np.int32), tuple(map(str, names)))


def _read_column(obs: pd.DataFrame, key: str | None, kind: str) -> CellLabels | None:
    """Return the ``kind`` ("sample", "batch") of each cell from a column of ``obs``; None without a key."""
    import pandas as pd

    from scrcl.io.labels import CellLabels
    from scrcl.io.tables import why_left_out

    if key is None:
        return None
    if reason := why_left_out(obs, key):
        message = f"{kind}_key must name a column that can be read; got {key!r}. {reason}."
        raise InputError(message)
    if key not in obs:
        columns = ", ".join(map(str, obs.columns)) or "none"
        message = f"{kind}_key must be a column of obs; got {key!r}. There are: {columns}."
        raise InputError(message)
    missing = obs[key].isna().to_numpy()
    if missing.any():
        message = (
            f"{kind}_key must name a column without missing values; {int(missing.sum()):,} cells have none in "
            f"obs[{key!r}], the first is {obs.index[int(np.argmax(missing))]}. Fill the column."
        )
        raise InputError(message)
    column = pd.Categorical(obs[key]).remove_unused_categories()
    return CellLabels(column.codes.astype(np.int32), tuple(map(str, column.categories)))


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


def _read_coordinates(matrix: CellMatrix, places: FloatArray | None) -> FloatArray:
    """Return the coordinates that make the graph: those that ``coordinates`` names, or ``obsm["spatial"]``."""
    if places is None and _SPATIAL not in matrix.obsm:
        suggested = suggested_places(matrix)
        remedy = (
            "Name them by `coordinates`, or leave out `spatial=True`."
            if suggested is None
            else f"If they are {suggested}, give `coordinates={suggested!r}`."
        )
        others = f" Other coordinates: {', '.join(sorted(matrix.obsm))}." if matrix.obsm else ""
        message = (
            'spatial must find two or three numeric coordinates for each cell in obsm["spatial"]; '
            f"{_found_instead(matrix)}. {remedy}{others}"
        )
        raise InputError(message)
    coordinates = np.asarray(matrix.obsm[_SPATIAL]) if places is None else places
    _require_finite(coordinates, matrix, 'obsm["spatial"]')
    varies = np.ptp(coordinates, axis=0) > 0 if len(coordinates) else np.ones(3, bool)
    # A flat tissue may come with a third coordinate that is the same everywhere; then it may still be a grid.
    return (
        coordinates if varies.all() or coordinates.shape[1] == 2 else coordinates[:, _flat(varies)]
    )


def _require_finite(coordinates: FloatArray, matrix: CellMatrix, what: str) -> None:
    finite = np.isfinite(coordinates).all(axis=1)
    if not finite.all():
        name = matrix.obs.index[int(np.argmin(finite))]
        message = (
            f"{what} must be finite; got NaN or infinity in {int((~finite).sum())} cells, "
            f"the first is {name}. Remove or repair them."
        )
        raise InputError(message)


def _flat(varies: BoolArray) -> list[int]:
    """Return the axes of a tissue without one along which nothing varies, but at least two."""
    constant = int(np.flatnonzero(~varies)[-1])
    return [axis for axis in range(len(varies)) if axis != constant]


def _require_places(coordinates: FloatArray, samples: CellLabels | None) -> None:
    """Refuse coordinates that are the same for all cells, or for all of a sample."""
    if len(coordinates) > 1 and not np.ptp(coordinates, axis=0).any():
        message = (
            f'obsm["spatial"] must differ between cells; got one position for all {len(coordinates):,}. '
            "Check the coordinates."
        )
        raise InputError(message)
    if samples is None:
        return
    for name, rows in samples.groups():
        if len(rows) > 1 and not np.ptp(coordinates[rows], axis=0).any():
            message = (
                f'obsm["spatial"] must differ between the cells of a sample; got one position for all {len(rows):,} '
                f"of {name}. Check the coordinates, or leave this sample out."
            )
            raise InputError(message)
