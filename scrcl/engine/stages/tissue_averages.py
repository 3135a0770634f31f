"""Averages of components over a tissue, and what maps them into the space in which its domains are found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import write_json
from scrcl._contract import Artifact, Estimate
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.io.arrays import SMALL_MAP_BYTES, RowWriter, row_blocks, write_leading

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.context import Context
    from scrcl.engine.stages.tissue import TissueSettings
    from scrcl.prep.correction import Correction
    from scrcl.prep.pca import Pca
    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "BLOCK_ROWS",
    "TISSUE_AXES",
    "TissueAxes",
    "averages_estimate",
    "write_averages",
    "write_scores",
]

BLOCK_ROWS = 16_384
"""Rows that are averaged at a time. It changes no bit."""

_PCA, _CORRECTION, _BATCHES = "axes.npz", "correction.npz", "batches.json"


@dataclass(frozen=True)
class TissueAxes:
    """What a run found in its averages, and what new slices are mapped by.

    Attributes
    ----------
    pca
        Components of the averages.
    correction
        What was subtracted from the scores of each batch after that; None if nothing was.
    batches
        The number of each batch in the correction, by its name.
    """

    pca: Pca
    correction: Correction | None
    batches: dict[str, int]

    def save(self, folder: Path) -> None:
        """Write the axes and the batches; the correction is there already."""
        self.pca.save(folder / _PCA)
        write_json(folder / _BATCHES, self.batches)


def _load(folder: Path) -> TissueAxes:
    from scrcl.prep.correction import Correction
    from scrcl.prep.pca import Pca

    path = folder / _CORRECTION
    return TissueAxes(
        Pca.load(folder / _PCA),
        Correction.load(path) if path.exists() else None,
        json.loads((folder / _BATCHES).read_text(encoding="utf-8")),
    )


TISSUE_AXES: Artifact[TissueAxes] = Artifact("axes of the tissue", _load)
"""What maps averages into `scrcl.graph.artifacts.TISSUE_SPACE`."""


def averages_estimate(shape: Shape, settings: TissueSettings) -> Estimate:
    """Return the maps that are read at random, and blocks of rows with their neighbours."""
    n, k, d = shape.n_cells, shape.n_neighbors, min(settings.from_comps, shape.n_comps)
    return Estimate(
        LIBRARIES_BYTES + 3 * min(4 * n * d, SMALL_MAP_BYTES) + min(4 * n * k, SMALL_MAP_BYTES),
        min(n, BLOCK_ROWS) * (28 * (k + 1) + 16 * d),
        shared=True,
        disk_bytes=4 * n * (min(settings.n_kept, d) + 3 * d),
        read_bytes=4 * n * d * (settings.steps * (k + 1) + 2),
        seconds=0.1,
        shared_seconds=n * (1 + settings.steps * (k + 1) * d * 2e-3) * 1e-6,
    )


def write_averages(
    context: Context, scores: FloatArray, ids: IntArray, d: int, n_times: int, path: Path
) -> None:
    """Write the leading ``d`` components, averaged over a cell and its neighbours, ``n_times``: float32, (n, d)."""
    from scrcl.graph.propagate import mean_weights, propagate

    leading = path.with_name("leading.npy")
    write_leading(leading, scores, d, block_rows=BLOCK_ROWS)
    propagate(
        np.load(leading, mmap_mode="r"),
        mean_weights(ids),
        path,
        n_times=n_times,
        block_rows=BLOCK_ROWS,
        n_workers=context.budget.n_workers,
        on_rows=context.count("tissue", len(scores) * max(n_times, 1)),
    )
    leading.unlink()


def write_scores(averages: FloatArray, pca: Pca, path: Path) -> None:
    """Write the component scores of averages, which are read block by block: float32, (n_cells, n_comps)."""
    with RowWriter(path, len(averages), pca.loadings.shape[1]) as writer:
        for start, stop in row_blocks(len(averages), BLOCK_ROWS):
            writer.write(start, (np.asarray(averages[start:stop]) - pca.mean) @ pca.loadings)
