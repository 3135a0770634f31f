"""Stage ``umap`` of a prediction: new cells on the plane of the run, among the cells of the run near them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scrcl._contract import Estimate
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.engine.stage import NewCellsStage, Record
from scrcl.engine.stages.graph_new_cells import NEAR_IDS, NEAR_SQUARED
from scrcl.engine.stages.landmarks import NEAR
from scrcl.maps.artifacts import LAYOUT
from scrcl.maps.place import placed

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context

__all__ = ["NewUmapStage"]


class NewUmapRecord(Record):
    """That new cells were placed."""


class NewUmapStage(NewCellsStage[NewUmapRecord]):
    """Puts each new cell among the cells of the run that are nearest to it; none of the run's cells moves."""

    name = "umap"
    record = NewUmapRecord
    gives = (LAYOUT,)
    obsm: ClassVar = {"X_umap": LAYOUT}

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
