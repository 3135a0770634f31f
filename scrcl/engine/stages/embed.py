"""Stage ``embed``: the embedding of every cell, from the trained model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import write_json
from scrcl._contract import Artifact, Estimate
from scrcl.engine.device import resolve_device
from scrcl.engine.graph_view import add_graph_view
from scrcl.engine.memory import LIBRARIES_BYTES, dense_block_rows
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.inputs import INPUTS, open_inputs
from scrcl.engine.stages.train import WEIGHTS, trained_model

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.embed_new_cells import NewEmbedStage

__all__ = ["EMBEDDING", "EmbedRecord", "EmbedStage"]

_SPACE = "space.json"


def _open_embedding(folder: Path) -> Any:
    space = json.loads((folder / _SPACE).read_text(encoding="utf-8"))["clustered"]
    return np.load(folder / f"{space}.npy", mmap_mode="r")


EMBEDDING: Artifact[Any] = Artifact("embedding", _open_embedding)
"""Memory map of float32, shape (n_cells, n_dims): the space of the method that is clustered."""


class EmbedRecord(Record):
    """The space that is clustered."""

    space: str


class EmbedStage(Stage[EmbedRecord]):
    """Streams all cells through the trained model."""

    name = "embed"
    record = EmbedRecord
    takes = (INPUTS, WEIGHTS)
    gives = (EMBEDDING,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        n, dim = shape.n_cells, config.train.dim
        n_features = shape.n_genes if config.train.features == "hvg" else shape.n_comps
        small = 1 << 28
        edges = 1.4 * shape.n_neighbors
        return Estimate(
            LIBRARIES_BYTES
            + int(n * 40)
            + 2 * min(4 * n * n_features, small)
            + 2 * min(4 * n * dim, small)
            + int(min(4 * n * edges, small)),
            8 * dense_block_rows(shape, config) * max(n_features, shape.n_comps),
            disk_bytes=n
            * (
                8 * (dim + config.train.refined_dim)
                + 4 * dim * (config.clustered_on == "graph_view")
            ),
            read_bytes=8 * n * n_features,
            seconds=1 + 6e-6 * n,
        )

    def run(self, context: Context, folder: Path) -> EmbedRecord:
        """Write the spaces of the method, each as ``<space>.npy``."""
        from scrcl.train.methods.scrcl.embed import embed_all

        inputs, config = open_inputs(context), context.config
        embed_all(
            trained_model(context, config),
            inputs,
            folder,
            block_rows=context.budget.dense_block_rows,
            device=resolve_device(config.device, context.ranks.local),
            on_rows=context.count("embed", inputs.graph.n),
        )
        add_graph_view(folder, config, block_rows=context.budget.dense_block_rows)
        write_json(folder / _SPACE, {"clustered": config.clustered_on})
        return EmbedRecord(n_cells=inputs.graph.n, space=config.clustered_on)

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the space that is clustered."""
        return AnnDataKeys(obsm={"X_scrcl": run.open(EMBEDDING)})

    def for_new_cells(self, run: OpenRun) -> NewEmbedStage:
        """Return the stage that embeds new cells with the model of the run."""
        from scrcl.engine.stages.embed_new_cells import NewEmbedStage

        return NewEmbedStage(run)
