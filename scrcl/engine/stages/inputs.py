"""Stage ``inputs``: what the method reads in training, written once in the order that training reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._atomic import remove
from scrcl._contract import Artifact
from scrcl.engine.learning import estimates_of, method_of, open_inputs, work_of
from scrcl.engine.stage import Record, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context

__all__ = ["METHOD_INPUTS", "InputsStage"]


METHOD_INPUTS: Artifact[Path] = Artifact("method inputs", lambda folder: folder)
"""The folder that the method wrote its inputs into; only the method knows the files."""


class InputsStage(Stage[Record]):
    """Lets the method write what its training reads."""

    name = "inputs"
    record = Record
    gives = (METHOD_INPUTS,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return what the method estimates."""
        return estimates_of(shape, config).inputs

    def run(self, context: Context, folder: Path) -> Record:
        """Write the inputs. Checkpoints that are there belong to other inputs and are removed."""
        config = context.config
        remove(context.folder.checkpoints)
        method = method_of(config)
        method.write_inputs(context, folder, config.method_settings, work_of(context))
        return Record(n_cells=open_inputs(context, folder, config).n_cells)
