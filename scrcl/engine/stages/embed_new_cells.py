"""Stage ``embed`` of a prediction: the embedding of new cells, from their neighbours in the run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scrcl.engine.learning import estimates_of, method_of, open_inputs, work_of
from scrcl.engine.stage import NewCellsStage, Record
from scrcl.engine.stages.embed import EMBEDDING, mark_space
from scrcl.engine.stages.graph_new_cells import NEAR_IDS, NEAR_SQUARED
from scrcl.engine.stages.inputs import METHOD_INPUTS
from scrcl.engine.stages.train import trained_learner
from scrcl.graph.artifacts import CELL_GRAPH, NEIGHBOR_DISTANCES
from scrcl.io.arrays import RowWriter, release, row_blocks
from scrcl.report.page import Section

if TYPE_CHECKING:
    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import FloatArray

__all__ = ["NewEmbedStage"]

_LINK_VALUES = 8_000_000
"""Values of neighbours' rows in memory at a time: 32 MB in float32."""

_REACH_ROWS = 1 << 20


class NewEmbedRecord(Record):
    """How many neighbours in the run a new cell has."""

    mean_neighbors: float
    space: str


class NewEmbedStage(NewCellsStage[NewEmbedRecord]):
    """Embeds new cells with the trained learner and their neighbours in the run."""

    name = "embed"
    record = NewEmbedRecord
    gives = (EMBEDDING,)
    obsm: ClassVar = {"X_scrcl": EMBEDDING}

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return what the method estimates: memory for the run's cells, disk for the new ones."""
        there = self._run.n_cells
        of_run = estimates_of(replace(shape, n_cells=there), config).new_cells
        return replace(of_run, disk_bytes=of_run.disk_bytes // there * shape.n_cells)

    def check(self, header: CellMatrix, config: RunConfig) -> None:  # noqa: ARG002
        """Refuse a run whose model cannot be loaded."""
        trained_learner(
            self._run, open_inputs(self._run, self._run.open(METHOD_INPUTS), config), config
        )

    def run(self, context: Context, folder: Path) -> NewEmbedRecord:
        """Join each new cell to cells of the run, and write its embeddings."""
        from scrcl.graph.links import are_neighbours, normalized_links
        from scrcl.train.method import NewCells

        there, config = self._run, context.config
        inputs = open_inputs(there, there.open(METHOD_INPUTS), config)
        graph, reach = there.open(CELL_GRAPH), _reach(there)
        ids, squared = context.open(NEAR_IDS), context.open(NEAR_SQUARED)
        n_cells, advance, n_links = len(ids), context.count("embed", len(ids)), 0
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
            encoder = method_of(config).new_cells(
                trained_learner(there, inputs, config),
                inputs,
                NewCells(there, context, config.clustered_on, scratch),
                work_of(context),
            )
            writers = {
                name: stack.enter_context(RowWriter(folder / f"{name}.npy", n_cells, width))
                for name, width in encoder.widths.items()
            }
            values = ids.shape[1] * encoder.values_per_neighbor
            block_rows = min(max(_LINK_VALUES // values, 64), 65_536)
            for start, stop in row_blocks(n_cells, block_rows):
                near = np.array(ids[start:stop])
                neighbours = are_neighbours(
                    near,
                    np.array(squared[start:stop]),
                    reach,
                    config.graph.n_neighbors,
                    mode=config.graph.symmetry,
                )
                links = normalized_links(near, neighbours, graph)
                for name, rows in encoder.embed(start, stop, links).items():
                    writers[name].write(start, rows)
                n_links += int(neighbours.sum())
                for array in (ids, squared):
                    release(array)
                advance(stop - start)
        mark_space(folder, config.clustered_on)
        return NewEmbedRecord(
            n_cells=n_cells, mean_neighbors=n_links / n_cells, space=config.clustered_on
        )

    def section(self, run: OpenRun) -> Section:
        """Return the neighbours for the overview."""
        record = run.record(NewEmbedStage)
        text = f"{record.mean_neighbors:.1f} for each cell"
        return Section("Embedding", overview={"neighbours in the run": text})


def _reach(there: OpenRun) -> FloatArray:
    """Return the distance of the farthest neighbour of each cell of the run."""
    distances = there.open(NEIGHBOR_DISTANCES)
    reach = np.empty(len(distances), np.float32)
    for start, stop in row_blocks(len(distances), _REACH_ROWS):
        reach[start:stop] = distances[start:stop, -1]
        release(distances)
    return reach
