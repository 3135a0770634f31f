"""Stage ``graph`` of a prediction in a tissue: the neighbours of each new cell in its own slice.

Cells of the run are in other slices, so none of them is near. As many neighbours are taken as in the run, because
averages over more or fewer cells would vary less or more than those of the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._contract import Estimate
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES, TREE_BYTES
from scrcl.engine.stage import NewCellsStage, Record
from scrcl.graph.artifacts import NEIGHBOR_IDS
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["NewSlicesGraphStage"]


class NewSlicesGraphRecord(Record):
    """Neighbours of a new cell, and the kind of the coordinates."""

    n_neighbors: int
    n_slices: int
    layout: dict[str, Any]


class NewSlicesGraphStage(NewCellsStage[NewSlicesGraphRecord]):
    """Finds the nearest cells of each new cell in its slice."""

    name = "graph"
    record = NewSlicesGraphRecord
    gives = (NEIGHBOR_IDS,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return the coordinates, the tree over them, and what is found."""
        n, k = shape.n_cells, shape.n_neighbors
        return Estimate(
            LIBRARIES_BYTES + n * (ANNOTATION_BYTES + TREE_BYTES + 8 * k), disk_bytes=4 * n * k
        )

    def run(self, context: Context, folder: Path) -> NewSlicesGraphRecord:
        """Write ``ids.npy``."""
        from scrcl.engine.stages.graph import GraphStage
        from scrcl.graph.spatial import spatial_knn

        there = self._run.record(GraphStage)
        covariates = context.covariates.of(context.open(STATS).retained)
        assert covariates.coordinates is not None, "new slices without coordinates are refused"
        assert covariates.layout is not None
        n_cells = len(covariates.coordinates)
        found = spatial_knn(
            covariates.coordinates,
            min(there.n_neighbors, n_cells - 1),
            samples=covariates.samples,
            radius=context.config.graph.radius,
        )
        np.save(folder / "ids.npy", found.ids)
        kind, kind_there = covariates.layout.kind, (there.layout or {}).get("kind")
        note = (
            f"The coordinates of the new cells are {kind}, and those of the run {kind_there}. Averages over as many "
            "neighbours may then reach another distance: compare the maps."
        )
        return NewSlicesGraphRecord(
            n_cells=n_cells,
            n_neighbors=found.ids.shape[1],
            n_slices=1 if covariates.samples is None else len(np.unique(covariates.samples.codes)),
            layout=covariates.layout._asdict(),
            notes=() if kind == kind_there else (note,),
        )

    def section(self, run: OpenRun) -> Section:
        """Return the neighbours for the overview."""
        record = run.record(NewSlicesGraphStage)
        slices = f" in {record.n_slices} slices" if record.n_slices > 1 else ""
        return Section(
            "Neighbours",
            overview={"neighbours in the tissue": f"{record.n_neighbors} for each cell{slices}"},
            notes=record.notes,
        )
