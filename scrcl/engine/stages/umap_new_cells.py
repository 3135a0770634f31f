"""Stage ``umap`` of a prediction: new cells on the plane of the run, among the cells of the run near them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.graph_new_cells import NEAR_IDS, NEAR_SQUARED
from scrcl.engine.stages.landmarks import NEAR
from scrcl.maps.artifacts import LAYOUT
from scrcl.maps.place import placed

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["NewUmapStage"]


class NewUmapRecord(Record):
    """That new cells were placed."""


class NewUmapStage(Stage[NewUmapRecord]):
    """Puts each new cell among the cells of the run that are nearest to it; none of the run's cells moves."""

    name = "umap"
    record = NewUmapRecord
    takes = (NEAR_IDS, NEAR_SQUARED)
    gives = (LAYOUT,)

    def __init__(self, run: OpenRun) -> None:
        self._run = run

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return positions of all cells, and what is known of the near cells."""
        n = shape.n_cells
        return Estimate(
            LIBRARIES_BYTES + 8 * self._run.n_cells + n * (8 + 60 * NEAR), 0, disk_bytes=8 * n
        )

    def run(self, context: Context, folder: Path) -> NewUmapRecord:
        """Write ``layout.npy``."""
        ids = np.array(context.open(NEAR_IDS)[:, :NEAR])
        squared = np.array(context.open(NEAR_SQUARED)[:, :NEAR])
        np.save(folder / "layout.npy", placed(ids, squared, np.asarray(self._run.open(LAYOUT))))
        return NewUmapRecord(n_cells=len(ids))

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the positions under scanpy's key."""
        return AnnDataKeys(obsm={"X_umap": run.open(LAYOUT)})
