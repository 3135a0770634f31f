"""E^g, the half of E from the graph view, as rows of a file of its own where it is what is clustered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.config import RunConfig

__all__ = ["add_graph_view"]


def add_graph_view(folder: Path, config: RunConfig, *, block_rows: int) -> None:
    """Write ``graph_view.npy`` beside E in the folder of a stage ``embed``, where that is what is clustered.

    It is E^g, float32 of shape (n_cells, dim): searches and k-means want rows that lie together, and would copy a
    part of each row of E into memory.
    """
    if config.clustered_on != "graph_view":
        return
    from scrcl.io.arrays import RowWriter, release, row_blocks
    from scrcl.train.methods.scrcl.embed import EMBEDDING

    embedding, dim = np.load(folder / EMBEDDING, mmap_mode="r"), config.train.dim
    with RowWriter(folder / "graph_view.npy", len(embedding), dim) as view:
        for start, stop in row_blocks(len(embedding), block_rows):
            view.write(start, np.ascontiguousarray(embedding[start:stop, dim:]))
            release(embedding)
