"""Stage ``embed``: the embedding of every cell, from the trained model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scrcl._atomic import write_json
from scrcl._contract import Artifact
from scrcl.engine.learning import estimates_of, method_of, open_inputs, work_of
from scrcl.engine.stage import Record, Stage
from scrcl.engine.stages.inputs import METHOD_INPUTS
from scrcl.engine.stages.train import trained_learner

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.embed_new_cells import NewEmbedStage

__all__ = ["EMBEDDING", "SPACES", "EmbedStage", "mark_space"]

_SPACE = "space.json"


def _open_embedding(folder: Path) -> Any:
    space = json.loads((folder / _SPACE).read_text(encoding="utf-8"))["clustered"]
    return np.load(folder / f"{space}.npy", mmap_mode="r")


EMBEDDING: Artifact[Any] = Artifact("embedding", _open_embedding)
"""Memory map of float32, shape (n_cells, n_dims): the space of the method that is clustered."""


SPACES: Artifact[Path] = Artifact("spaces of the method", lambda folder: folder)
"""The folder with all spaces that the method wrote, each as ``<space>.npy``."""


class EmbedRecord(Record):
    """The space that is clustered."""

    space: str


class EmbedStage(Stage[EmbedRecord]):
    """Streams all cells through the trained learner."""

    name = "embed"
    record = EmbedRecord
    gives = (EMBEDDING, SPACES)
    obsm: ClassVar = {"X_scrcl": EMBEDDING}

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return what the method estimates."""
        return estimates_of(shape, config).embed

    def run(self, context: Context, folder: Path) -> EmbedRecord:
        """Write the spaces of the method, each as ``<space>.npy``, and which of them is clustered."""
        config, space = context.config, context.config.clustered_on
        inputs = open_inputs(context, context.open(METHOD_INPUTS), config)
        method_of(config).embed(
            trained_learner(context, inputs, config),
            inputs,
            folder,
            work_of(context, context.count("embed", inputs.n_cells)),
            space=space,
        )
        mark_space(folder, space)
        return EmbedRecord(n_cells=inputs.n_cells, space=space)

    def for_new_cells(self, run: OpenRun) -> NewEmbedStage | None:
        """Return the stage that embeds new cells with the model of the run; None in a tissue.

        There the model knows cells by their places in the slices of the run, and domains are found without it.
        """
        from scrcl.engine.stages.embed_new_cells import NewEmbedStage

        return None if run.config.spatial else NewEmbedStage(run)


def mark_space(folder: Path, space: str) -> None:
    """Note in the folder which space is clustered, for `EMBEDDING`."""
    write_json(folder / _SPACE, {"clustered": space})
