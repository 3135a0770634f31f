"""The stage ``embed`` of a prediction: the embedding of new cells, from their neighbours in the run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scrcl.engine.predict.atlas import Atlas
    from scrcl.engine.stage import Run
    from scrcl.typing import FloatArray

__all__ = ["embed_cells"]

LINK_VALUES = 8_000_000
"""Values of neighbours' rows held at a time: 32 MB in float32."""


def embed_cells(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Write the embedding of the new cells, from those of their neighbours in the run."""
    from scrcl.engine.learn import trained_learner
    from scrcl.engine.views import RunOpener, training_inputs, work_of
    from scrcl.graph.csr import CELL_GRAPH
    from scrcl.graph.links import joined, normalized_links
    from scrcl.io.arrays import RowWriter, release, row_blocks
    from scrcl.train.method import NewCells

    there, config = atlas.opened(run), run.config
    inputs, own, opener = training_inputs(there), RunOpener(run), RunOpener(there)
    graph, reach = opener.open(CELL_GRAPH), _reach(there)
    ids, squared = run.array("graph", "ids"), run.array("graph", "squared")
    k, mode = config.graph.n_neighbors, config.graph.symmetry
    n_cells, advance = len(ids), run.count("embed", len(ids))
    n_links = 0
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        encoder = config.method_entry.load().new_cells(
            trained_learner(there, inputs),
            inputs,
            NewCells(opener, own, config.clustered_on, scratch),
            work_of(there),
        )
        writers = {
            name: stack.enter_context(RowWriter(folder / f"{name}.npy", n_cells, width))
            for name, width in encoder.widths.items()
        }
        values = ids.shape[1] * encoder.values_per_neighbor
        for start, stop in row_blocks(n_cells, min(max(LINK_VALUES // values, 64), 65_536)):
            near = np.array(ids[start:stop])
            neighbours = joined(near, np.array(squared[start:stop]), reach, k, mode=mode)
            links = normalized_links(near, neighbours, graph)
            for name, rows in encoder.embed(start, stop, links).items():
                writers[name].write(start, rows)
            n_links += int(neighbours.sum())
            for array in (ids, squared):
                release(array)
            advance(stop - start)
    return {"n_cells": n_cells, "mean_neighbors": n_links / n_cells}


def _reach(there: Run) -> FloatArray:
    """Return the distance of the farthest neighbour that each cell of the atlas names."""
    from scrcl.io.arrays import release, row_blocks

    distances = there.array("graph", "distances")
    reach = np.empty(len(distances), np.float32)
    for start, stop in row_blocks(len(distances), 1 << 20):
        reach[start:stop] = distances[start:stop, -1]
        release(distances)
    return reach
