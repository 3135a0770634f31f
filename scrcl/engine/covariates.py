"""Coordinates, samples and batches of the cells, as the settings name them.

They are read once, before the output folder is touched, checked, and made part of the run's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scrcl.engine.batch_columns import type_like_columns
from scrcl.engine.fingerprint import fingerprint_of, fingerprint_of_array
from scrcl.engine.tissue_coordinates import (
    array_numbers,
    coordinates_by_name,
    coordinates_of_tissue,
    notes_of_tissue,
    require_neighbours,
)
from scrcl.errors import InputError
from scrcl.graph.lattice import find_layout, to_scale
from scrcl.io.labels import CellLabels
from scrcl.io.left_out import why_left_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.engine.config import RunConfig
    from scrcl.graph.lattice import Layout
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, FloatArray

__all__ = ["Covariates", "batch_columns", "batch_names", "read_batches", "read_covariates"]

_LEAST_CELLS = 2
"""Least mean number of cells of a batch. Batches of one to five cells are accepted, but not a number for each cell."""


@dataclass(frozen=True)
class Covariates:
    """Coordinates, sample and batch of each cell; None where no setting names them."""

    coordinates: FloatArray | None = None
    """shape (n_cells, 2) or (n_cells, 3)"""
    samples: CellLabels | None = None
    batches: CellLabels | None = None
    layout: Layout | None = None
    """kind of the coordinates; these are to scale, as numbers of rows and columns were made positions"""
    notes: tuple[str, ...] = ()
    """what the user should know before the work begins"""
    named_coordinates: FloatArray | None = None
    """what the setting ``coordinates`` names, as it is given: shape (n_cells, 2) or (n_cells, 3)"""

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
            None if self.named_coordinates is None else self.named_coordinates[cells],
        )

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of each covariate that is there."""
        columns = {"samples": self.samples, "batches": self.batches}
        hashes = {
            name: fingerprint_of(column.names, fingerprint_of_array(column.codes))
            for name, column in columns.items()
            if column is not None
        }
        shown = self.named_coordinates if self.coordinates is None else self.coordinates
        if shown is not None:
            hashes["coordinates"] = fingerprint_of_array(shown)
        return hashes


def read_covariates(
    matrix: CellMatrix, config: RunConfig, *, notes: tuple[str, ...] = ()
) -> Covariates:
    """Read the coordinates, samples and batches that the settings name. No other annotation is kept in memory.

    Parameters
    ----------
    notes
        What is known already that the user should know.

    Raises
    ------
    InputError
        A column or the coordinates are missing or incomplete; the batches are measurements, or have hardly two cells
        each; or no two cells are as near as ``graph.radius``.
    """
    samples = batches = None
    if config.sample_key is not None or config.batch_key is not None:
        obs = matrix.fresh_obs()
        samples = _read_column(obs, config.sample_key, "sample")
        batches = read_batches(obs, config.batch_key)
        notes = (*notes, *_notes_of_types(obs, config))
        # Slices have checks of their own, and may be named by their depth.
        if batches is not None and config.batch_key not in (None, config.sample_key):
            _require_batches(obs, str(config.batch_key), batches)
    name = config.coordinates
    named = None if name is None else coordinates_by_name(matrix, name)
    read = Covariates(samples=samples, batches=batches, notes=notes, named_coordinates=named)
    if config.spatial:
        given = coordinates_of_tissue(matrix, samples, name=name, named=named)
        require_neighbours(given, samples, config.graph.radius)
        obs = matrix.fresh_obs()
        read = replace(
            read,
            coordinates=to_scale(given, samples),
            layout=find_layout(given, samples, array_numbers(obs)),
            notes=(*notes, *notes_of_tissue(obs)),
        )
    return read


def _require_batches(obs: pd.DataFrame, key: str, batches: CellLabels) -> None:
    """Refuse columns of measurements, and batches that hardly any cells share."""
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
    if config.batch_key is None or config.group("correct").method == "none":
        return
    for name in type_like_columns(obs, batch_columns(obs, config.batch_key)):
        yield (
            f"obs[{name!r}] looks like cell types, not batches. If so, leave it out of `batch_key`: the correction "
            "joins types."
        )


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
    columns = [] if key is None else batch_columns(obs, key)
    read = [_read_column(obs, column, "batch") for column in columns]
    if len(read) < 2:
        return read[0] if read else None
    codes, names = pd.factorize(batch_names(obs, columns), sort=True)
    return CellLabels(codes.astype(np.int32), tuple(map(str, names)))


def _read_column(obs: pd.DataFrame, key: str | None, kind: str) -> CellLabels | None:
    """Return the ``kind`` ("sample", "batch") of each cell from a column of ``obs``; None without a key."""
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
        n_missing, first = int(missing.sum()), obs.index[int(np.argmax(missing))]
        which = (
            f"cell {first} has none"
            if n_missing == 1
            else f"{n_missing:,} cells have none, the first is {first}"
        )
        message = (
            f"{kind}_key must name a column without missing values; got obs[{key!r}], where {which}. "
            "Fill the column."
        )
        raise InputError(message)
    return CellLabels.of_column(obs[key])
