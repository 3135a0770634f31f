"""A finished run, opened to be read and never written: what new cells are laid beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import first_fault
from scrcl.engine.pipeline import STAGES
from scrcl.engine.run_folder import RunFolder, fingerprint_of_array, read_manifest
from scrcl.engine.stage import Run
from scrcl.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from scrcl.io.matrix import CellMatrix

__all__ = ["GIVEN", "Atlas", "open_atlas"]

GIVEN = {"memory", "device", "layer", "join", "format", "keep_x"}

_OWN = {"memory", "device", "format", "keep_x"}
"""Settings that fall back to their defaults, and not to those of the run."""

_NEEDED = {
    "views": "embed",
    "cluster/centres.npy": "cluster",
    "cluster/owners.npy": "cluster",
    "cluster/centroids.npy": "cluster",
}
"""Files that new cells go by, and the stage that makes each again."""


@dataclass(frozen=True)
class Atlas:
    """A finished run.

    Attributes
    ----------
    folder
        Its output folder and manifest.
    config
        Its settings, but for those that a prediction was given (`open_atlas`).
    genes
        Names of the genes of its input.
    """

    folder: RunFolder
    config: RunConfig
    genes: pd.Index

    @property
    def n_cells(self) -> int:
        """Cells that were kept."""
        return int(self.record("features")["n_cells"])

    @property
    def n_clusters(self) -> int:
        """Clusters that were found."""
        return int(self.record("cluster")["n_clusters"])

    def record(self, name: str) -> dict[str, Any]:
        """Return the record of a stage."""
        record = self.folder.finished(name)
        assert record is not None
        return record

    @property
    def learned(self) -> str:
        """Hash of the centres of the clusters: a run made again on another device has others."""
        return fingerprint_of_array(np.load(self.folder.stage("cluster") / "centres.npy"))

    def opened(self, run: Run) -> Run:
        """Return the run as its own stages saw it, within what ``run``, a prediction, may take."""
        return Run(self.config, self.folder, run.budget, run.reporter, _no_input)

    @property
    def selected(self) -> Any:
        """Positions of the selected genes among all: ndarray of int, ascending."""
        return np.load(self.folder.stage("features") / "genes.npy")


def open_atlas(out: Path, given: Mapping[str, Any]) -> Atlas:
    """Open the output folder of a finished run.

    Parameters
    ----------
    given
        Settings that a prediction may have of its own (`GIVEN`); those of the run hold for ``layer`` and
        ``join`` where not given, and a layer named "X" is X.

    Raises
    ------
    StoreError
        ``out`` holds no run, or one that is not finished or was cleaned up.
    InputError
        A setting breaks its rule, or the run's graph is not one that new cells can be joined to.
    """
    from scrcl.io.results import read_var

    folder = RunFolder(out, read_manifest(out))
    _require_finished(folder)
    config = _settings(folder, given)
    _require_expression_graph(config)
    result = out / folder.manifest["stages"][-1]["result"]
    return Atlas(folder, config, read_var(result).index.astype(str))


def _require_finished(folder: RunFolder) -> None:
    if "predicted_from" in folder.manifest:
        message = (
            f"OUT must be a run; got {folder.path}, a prediction. Name the run that it came from: "
            f"{folder.manifest['predicted_from']}."
        )
        raise StoreError(message)
    lacking = [stage.name for stage in STAGES if folder.finished(stage.name) is None]
    if lacking:
        message = (
            f"OUT must hold a finished run; got {folder.path}, which has no finished stage "
            f"{lacking[0]}. Run it to the end."
        )
        raise StoreError(message)
    for name, stage in _NEEDED.items():
        if not (folder.path / "stages" / name).exists():
            message = (
                f"OUT must hold what new cells go by; {folder.path} has no stages/{name}. "
                f"Delete its stages/{stage} and run the same command again: it is made anew."
            )
            raise StoreError(message)


def _settings(folder: RunFolder, given: Mapping[str, Any]) -> RunConfig:
    strange = sorted(given.keys() - GIVEN)
    if strange:
        message = f"a prediction must be given {', '.join(sorted(GIVEN))}; got {strange[0]!r}."
        raise InputError(message)
    of_run = folder.manifest.get("settings", {})
    ours = {*RunConfig.model_fields, of_run.get("method")} - _OWN
    kept = {name: of_run[name] for name in of_run.keys() & ours}
    own = {**given, "layer": None} if given.get("layer") == "X" else given
    try:
        return RunConfig.model_validate({**kept, **own})
    except ValidationError as error:
        raise InputError(first_fault(error)) from None


def _require_expression_graph(config: RunConfig) -> None:
    if config.spatial:
        message = (
            "OUT must be a run whose neighbours lie in expression; got one with --spatial. Places in "
            "one tissue say nothing of another: run without --spatial, or cluster the new slice itself."
        )
        raise InputError(message)
    if config.graph.balanced:
        message = (
            "OUT must be a run without graph.balanced; got one with it. New cells are of none of its "
            "batches: run without graph.balanced."
        )
        raise InputError(message)


def _no_input(_: Path) -> CellMatrix:
    message = "the input of a finished run is not read again"
    raise AssertionError(message)
