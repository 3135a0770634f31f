"""What settings name of the cells: their coordinates, and the columns that tell their sample and batch.

It is read before the output folder is touched, checked, and made part of the run's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.run_folder import fingerprint_of, fingerprint_of_array
from scrcl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.engine.config import RunConfig
    from scrcl.io.labels import CellLabels
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, FloatArray

__all__ = ["Named", "read_column", "read_named"]

SPATIAL = "spatial"


@dataclass(frozen=True)
class Named:
    """Coordinates, sample and batch of each cell; None where no setting names them."""

    coordinates: FloatArray | None = None
    """shape (n_cells, 2) or (n_cells, 3)"""
    samples: CellLabels | None = None
    batches: CellLabels | None = None

    @property
    def n_batches(self) -> int:
        """Number of batches; one where none are told apart."""
        return 1 if self.batches is None else max(len(self.batches.names), 1)

    def of(self, kept: BoolArray) -> Named:
        """Return the same of some cells."""
        return Named(
            None if self.coordinates is None else self.coordinates[kept],
            None if self.samples is None else self.samples.of(kept),
            None if self.batches is None else self.batches.of(kept),
        )

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of each thing that is named."""
        columns = {"samples": self.samples, "batches": self.batches}
        hashes = {
            name: fingerprint_of(column.names, fingerprint_of_array(column.codes))
            for name, column in columns.items()
            if column is not None
        }
        if self.coordinates is not None:
            hashes["coordinates"] = fingerprint_of_array(self.coordinates)
        return hashes


def read_named(matrix: CellMatrix, config: RunConfig) -> Named:
    """Read what ``spatial``, ``sample_key`` and ``batch_key`` name; of annotations nothing else is kept.

    Raises
    ------
    InputError
        It is missing, or does not tell what it should of each cell; no sample or batch has two cells, or none so
        near as ``graph.radius``; or there are too many batches for balanced neighbours.
    """
    samples = batches = None
    if config.sample_key is not None or config.batch_key is not None:
        obs = matrix.fresh_obs()
        samples = read_column(obs, config.sample_key, "sample")
        batches = read_column(obs, config.batch_key, "batch")
    if batches is not None and len(batches.names) == len(batches.codes) > 1:
        message = (
            f"batch_key must name a column whose values cells share; got {config.batch_key!r}, with one for each of "
            f"{len(batches.names):,} cells. Name the column of the batch."
        )
        raise InputError(message)
    named = Named(_coordinates(matrix) if config.spatial else None, samples, batches)
    if named.coordinates is not None:
        _require_neighbours(named.coordinates, samples, config.graph.radius)
    if config.graph.balanced:
        from scrcl.graph.balanced import require_few_batches

        require_few_batches(named.n_batches)
    return named


def _require_neighbours(
    coordinates: FloatArray, samples: CellLabels | None, radius: float | None
) -> None:
    """Raise InputError where no cell could have a neighbour: to be told before the input is read."""
    from scrcl.graph.spatial import require_shared_samples, spatial_knn

    if samples is not None:
        require_shared_samples(samples)
    if radius is not None:
        spatial_knn(coordinates, 1, samples=samples, radius=radius)


def read_column(obs: pd.DataFrame, key: str | None, kind: str) -> CellLabels | None:
    """Return which ``kind`` ("sample", "batch") each cell is of, by a column of ``obs``; None without a key.

    Raises
    ------
    InputError
        There is no such column, or a cell has no value in it.
    """
    import pandas as pd

    from scrcl.io.labels import CellLabels

    if key is None:
        return None
    if key not in obs:
        columns = ", ".join(map(str, obs.columns)) or "none"
        message = f"{kind}_key must be a column of obs; got {key!r}. There are: {columns}."
        raise InputError(message)
    missing = obs[key].isna().to_numpy()
    if missing.any():
        message = (
            f"{kind}_key must tell the {kind} of each cell; {int(missing.sum()):,} cells have none in "
            f"obs[{key!r}], the first is {obs.index[int(np.argmax(missing))]}. Fill the column."
        )
        raise InputError(message)
    column = pd.Categorical(obs[key]).remove_unused_categories()
    return CellLabels(column.codes.astype(np.int32), tuple(map(str, column.categories)))


def _coordinates(matrix: CellMatrix) -> FloatArray:
    if SPATIAL not in matrix.obsm:
        there = f", but in {', '.join(sorted(matrix.obsm))}" if matrix.obsm else ""
        message = (
            '--spatial must find two or three numeric coordinates a cell in obsm["spatial"]; there are '
            f"none of that kind{there}. Add them, or run without --spatial."
        )
        raise InputError(message)
    coordinates = np.asarray(matrix.obsm[SPATIAL])
    finite = np.isfinite(coordinates).all(axis=1)
    if not finite.all():
        name = matrix.obs.index[int(np.argmin(finite))]
        message = (
            f'obsm["spatial"] must be finite; got NaN or infinity in {int((~finite).sum())} cells, '
            f"the first is {name}. Remove or repair them."
        )
        raise InputError(message)
    if len(coordinates) > 1 and not np.ptp(coordinates, axis=0).any():
        message = (
            f'obsm["spatial"] must tell cells apart; got one place for all {len(coordinates):,}.'
        )
        raise InputError(message)
    return coordinates
