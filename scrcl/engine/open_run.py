"""A finished run, opened to be read. Nothing of it is ever written."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.cluster.artifacts import CONFIDENCE, LABELS
from scrcl.engine.arguments import checked
from scrcl.engine.config import RunConfig
from scrcl.engine.fingerprint import DATA_KEYS
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.learning import open_inputs
from scrcl.engine.load_config import validated, with_values
from scrcl.engine.outputs import Outputs
from scrcl.engine.stages import STAGES
from scrcl.engine.stages.embed import EMBEDDING
from scrcl.engine.stages.inputs import METHOD_INPUTS
from scrcl.engine.stages.train import HISTORY, trained_learner
from scrcl.errors import StoreError
from scrcl.graph.artifacts import CELL_GRAPH
from scrcl.prep.artifacts import COMPONENTS, FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.stage import Stage
    from scrcl.graph.csr import Graph
    from scrcl.train.method import Learner
    from scrcl.typing import FloatArray, IntArray

__all__ = ["OpenRun", "open_run"]


class OpenRun(Outputs):
    """What a run found, by name. Large arrays are read-only memory maps; cells are the retained ones.

    Made by `open_run`. `open` and `record` give everything else, by artifact and by stage:
    ``run.record(GraphStage).recall``, ``run.open(COMPONENTS)``.
    """

    def __init__(self, folder: RunFolder, stages: Sequence[Stage[Any]], config: RunConfig) -> None:
        super().__init__(folder, stages)
        self.config = config

    def __repr__(self) -> str:
        return f"OpenRun({str(self.path)!r}): {self.n_cells:,} cells"

    @property
    def path(self) -> Path:
        """The output folder."""
        return self.folder.path

    @property
    def fingerprint(self) -> str:
        """Hash of the input and of the settings that decide the result."""
        return str(self.folder.manifest["fingerprint"])

    @property
    def n_cells(self) -> int:
        """Retained cells."""
        return self.open(FEATURES).n_obs

    @cached_property
    def result_path(self) -> Path:
        """The result as AnnData, ``result.h5ad`` or ``result.zarr``.

        Raises
        ------
        StoreError
            The run has none yet, or it was deleted.
        """
        path = self.path / str(self.folder.manifest.get("result", f"result.{self.config.format}"))
        if not path.exists():
            message = f"OUT must hold a finished run; got {self.path}, which has no {path.name}. Run it to the end."
            raise StoreError(message)
        return path

    @cached_property
    def cells(self) -> pd.Index:
        """Names of the retained cells, in the order of the input."""
        from scrcl.io.results import read_obs

        return read_obs(self.result_path, whole=True).index

    @cached_property
    def var(self) -> pd.DataFrame:
        """Annotations of all genes of the input, by their unique names."""
        from scrcl.io.results import read_var

        return read_var(self.result_path)

    @property
    def genes(self) -> pd.Index:
        """Names of all genes of the input."""
        return self.var.index.astype(str)

    @property
    def labels(self) -> IntArray:
        """Cluster of each cell: int32, shape (n_cells,), 0 .. n_clusters - 1, largest cluster first."""
        return np.asarray(self.open(LABELS))

    @property
    def confidence(self) -> FloatArray:
        """Confidence of each label: float32, shape (n_cells,), 0 to 1."""
        return np.asarray(self.open(CONFIDENCE))

    @property
    def components(self) -> FloatArray:
        """Principal component scores: float32, shape (n_cells, n_comps)."""
        scores: FloatArray = self.open(COMPONENTS)
        return scores

    @property
    def embedding(self) -> FloatArray:
        """What was clustered, ``obsm["X_scrcl"]``: float32, shape (n_cells, n_dims)."""
        points: FloatArray = self.open(EMBEDDING)
        return points

    @property
    def graph(self) -> Graph:
        """Symmetric binary graph of the cells; its edges stay on disk."""
        return self.open(CELL_GRAPH)

    @property
    def model(self) -> Learner:
        """The trained model, a ``torch.nn.Module`` on the CPU in evaluation mode."""
        inputs = open_inputs(self, self.open(METHOD_INPUTS), self.config)
        return trained_learner(self, inputs, self.config)

    @property
    def history(self) -> list[dict[str, float]]:
        """Loss terms of each training step."""
        return self.open(HISTORY)

    @property
    def manifest(self) -> dict[str, Any]:
        """``run.json``: settings, versions, and the record of each stage, as JSON values."""
        return self.folder.manifest

    @property
    def methods_text(self) -> str:
        """What the run did, for the methods section of a paper, and the papers to cite, a line each."""
        from scrcl.engine.methods_text import methods_text

        text, papers = methods_text(self)
        return "\n".join([text, "", "References", *papers])

    def to_anndata(self) -> AnnData:
        """Read the result into memory: obs, var, obsm, obsp and uns, and X where ``keep_x`` copied it."""
        import anndata

        path = self.result_path
        if path.suffix == ".zarr":
            return anndata.read_zarr(path)
        return anndata.read_h5ad(path)


@checked
def open_run(out: str | Path) -> OpenRun:
    """Open the output folder of ``scrcl run`` or ``scrcl.fit``.

    Parameters
    ----------
    out
        The folder. It is only read.

    Returns
    -------
    OpenRun
        Cells, genes, labels, embedding, graph, records and model, and the whole as AnnData.

    Raises
    ------
    StoreError
        The folder holds no run, a prediction, a run that is not finished, or one of another format. Parts that were
        deleted later raise it when they are asked for.

    Examples
    --------
    >>> import scrcl
    >>> run = scrcl.open_run("out")  # doctest: +SKIP
    >>> run.labels[:5], run.embedding.shape  # doctest: +SKIP
    """
    path = Path(out)
    folder = RunFolder(path, read_manifest(path))
    if "predicted_from" in folder.manifest:
        message = (
            f"OUT must be a run; got {path}, a prediction. Name the run that it came from: "
            f"{folder.manifest['predicted_from']}."
        )
        raise StoreError(message)
    if "looked_into" in folder.manifest:
        message = (
            f"OUT must be a run; got {path}, a closer look into cluster {folder.manifest['looked_into']} of one. "
            f"Name the run: {path.parent.parent}."
        )
        raise StoreError(message)
    lacking = [stage.name for stage in STAGES if folder.entry(stage.name) is None]
    if lacking:
        message = (
            f"OUT must hold a finished run; got {path}, which has no finished stage {lacking[0]}. "
            "Run it to the end."
        )
        raise StoreError(message)
    return OpenRun(folder, STAGES, saved_config(folder))


def saved_config(folder: RunFolder, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the settings of the run in a folder, with ``changes`` by dotted name.

    Raises
    ------
    InputError
        A change breaks the rule of its setting.
    """
    saved = folder.manifest["settings"]
    kept = {name: value for name, value in saved.items() if name not in DATA_KEYS}
    return validated(RunConfig, with_values(kept, changes or {}))
