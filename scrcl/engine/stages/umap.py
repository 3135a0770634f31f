"""Stage ``umap``: the cells on a plane.

The graph that is laid out is the run's own. With coordinates, the run's neighbours are those in the tissue, and the
plane would only repeat the tissue: so neighbours in the embedding are laid out there. In a large atlas a random subset
of the cells is laid out by its own nearest neighbours, and the others are put among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._random import drawn_rows
from scrcl._settings import Settings
from scrcl.engine.memory import LIBRARIES_BYTES, MORE_NEIGHBORS, SEARCH_BYTES
from scrcl.engine.stage import NewCellsStage, Record, Stage
from scrcl.engine.stages.landmarks import NEAR, neighbours_for_map, space_of_maps, with_others
from scrcl.io.arrays import SMALL_MAP_BYTES, gathered
from scrcl.maps.artifacts import LAYOUT
from scrcl.maps.umap import n_epochs_of
from scrcl.prep.artifacts import COMPONENTS

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["UmapSettings", "UmapStage"]

_EDGE_BYTES = 90
"""For each edge: its weight in both directions while they are joined, and when it is due."""

_EDGES_PER_S = 4e7
"""Edges of an epoch that are laid out in a second: measured for 200,000 cells, and twice that for 4,000."""

_CELLS_PER_S = 7e4
"""Cells that are put among those that are laid out, in a second."""


class UmapSettings(Settings):
    """The UMAP of the cells."""

    cells: int = Field(
        200_000,
        ge=0,
        description="Number of cells that are laid out; the others are put among them. 0 makes no UMAP.",
    )
    min_dist: float = Field(
        0.5,
        ge=0,
        le=3,
        description="How far apart near cells are laid: small values give tight clumps.",
    )


class UmapRecord(Record):
    """How many cells were laid out."""

    n_laid_out: int


class UmapStage(Stage[UmapRecord]):
    """Lays out the cells on a plane."""

    name = "umap"
    settings = UmapSettings
    record = UmapRecord
    gives = (LAYOUT,)
    obsm: ClassVar = {"X_umap": LAYOUT}
    redo_settings = ("umap",)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the edges of the cells that are laid out, and positions of all."""
        n = shape.n_cells
        laid_out = min(n, config.umap.cells)
        edges = int(MORE_NEIGHBORS * 2 * shape.n_neighbors * laid_out)
        searched = n > laid_out or config.spatial
        return Estimate(
            LIBRARIES_BYTES + 8 * n + _EDGE_BYTES * edges + 8 * shape.n_comps * laid_out,
            SEARCH_BYTES if searched and laid_out else 0,
            disk_bytes=8 * n if laid_out else 0,
            read_bytes=8 * shape.n_neighbors * n,
            seconds=1
            + edges * n_epochs_of(laid_out) / _EDGES_PER_S
            + (n - laid_out) / _CELLS_PER_S * (laid_out > 0),
        )

    def advice(self, config: RunConfig) -> str:
        """Return how to lay out fewer cells."""
        return f"lower umap.cells (now {config.umap.cells:,})"

    def run(self, context: Context, folder: Path) -> UmapRecord:
        """Write ``layout.npy``."""
        from scrcl.maps.umap import umap_layout
        from scrcl.maps.weights import edge_weights

        config, settings = context.config, context.config.umap
        scores = context.open(COMPONENTS)
        if settings.cells == 0 or len(scores) < 2:
            return UmapRecord(n_laid_out=0, left_as_is=True)
        cells = drawn_rows(len(scores), settings.cells, config.seed, "umap.cells")
        points = space_of_maps(context)
        ids, distances = neighbours_for_map(context, points, cells)
        layout = umap_layout(
            edge_weights(ids, distances),
            gathered(scores, cells, above=SMALL_MAP_BYTES)[:, :2],
            seed=config.seed,
            min_dist=settings.min_dist,
            on_epochs=context.count("umap", n_epochs_of(len(cells)), "epochs"),
        )
        if len(cells) < len(scores):
            layout = with_others(context, points, cells, layout, "umap")
        np.save(folder / "layout.npy", layout)
        return UmapRecord(n_cells=len(scores), n_laid_out=len(cells))

    def for_new_cells(self, run: OpenRun) -> NewUmapStage | None:
        """Return the stage that puts new cells on the plane; None if the run has none, or cells of it are not near."""
        is_left = run.config.spatial or run.record(UmapStage).left_as_is
        return None if is_left else NewUmapStage(run)


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
        from scrcl.engine.stages.graph_new_cells import NEAR_IDS, NEAR_SQUARED
        from scrcl.maps.place import placed

        ids = np.array(context.open(NEAR_IDS)[:, :NEAR])
        squared = np.array(context.open(NEAR_SQUARED)[:, :NEAR])
        np.save(folder / "layout.npy", placed(ids, squared, np.asarray(self._run.open(LAYOUT))))
        return NewUmapRecord(n_cells=len(ids))
