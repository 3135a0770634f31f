"""Runs of scrcl, and the results that finished runs keep: the one place that knows their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scrcl import RunConfig
    from scrcl.cluster.mixing import BatchMixing
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.cluster import ClusterRecord
    from scrcl.graph.csr import Graph
    from scrcl.prep.pca import Pca
    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = [
    "MicroClusters",
    "batch_mixing",
    "cluster_again",
    "cluster_means",
    "cluster_record",
    "components",
    "config_of",
    "embedding",
    "graph",
    "labels",
    "log_values",
    "manifest",
    "micro_clusters",
    "opened",
    "pca",
    "result",
    "retained",
    "run",
    "same_files",
    "selected_genes",
    "training_inputs",
]


def config_of(settings: Iterable[str] = (), **fields: Any) -> RunConfig:
    """Return the settings of a run: the defaults, then ``fields``, then assignments as for ``--set``."""
    from scrcl.engine.load_config import load_config

    return load_config(settings=settings, overrides=fields)


def run(
    inputs: Any,
    out: Path,
    config: RunConfig,
    *,
    until: str | None = None,
    start: str | None = None,
    restart: bool = False,
) -> None:
    """Run scrcl on a file, a list of files or an AnnData in memory, and keep the run in ``out``.

    Parameters
    ----------
    inputs
        What to cluster.
    out
        Folder of the run.
    config
        Its settings.
    until
        The last stage to run; all where None.
    start
        Stage to redo in a finished run, with other settings, as ``scrcl run --from``.
    restart
        Start over where ``out`` has a run.
    """
    from scrcl.engine.run import run_files, run_matrix

    if hasattr(inputs, "obs"):
        from scrcl.io.open import from_anndata

        run_matrix(
            lambda _: from_anndata(inputs), out, config, until=until, start=start, restart=restart
        )
        return
    files = inputs if isinstance(inputs, list) else [inputs]
    run_files(files, out, config, until=until, start=start, restart=restart)


def cluster_again(
    path: Path, out: Path, *, n_clusters: int | str, algorithm: str | None = None
) -> IntArray:
    """Cluster the cells of a finished run again: another number of clusters or ``"auto"``, or another algorithm.

    No stage before ``cluster`` reads these, so a whole run with them gives the same labels. The labels in ``out`` are
    replaced.
    """
    from scrcl.engine.load_config import load_config

    more = {} if algorithm is None else {"cluster.algorithm": algorithm}
    config = load_config(out / "config.toml", overrides={"n_clusters": n_clusters, **more})
    run(path, out, config, start="cluster", until="cluster")
    return labels(out)


def opened(out: Path) -> OpenRun:
    """Return the reader of a run, which may have ended before its last stage."""
    from scrcl.engine.folder import RunFolder, read_manifest
    from scrcl.engine.open_run import OpenRun, saved_config
    from scrcl.engine.stages import STAGES

    folder = RunFolder(out, read_manifest(out))
    return OpenRun(folder, STAGES, saved_config(folder))


def manifest(out: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run."""
    return opened(out).manifest


def labels(out: Path) -> IntArray:
    """Return the cluster of each cell: int32, shape (n_cells,)."""
    return opened(out).labels


def embedding(out: Path) -> FloatArray:
    """Return E of all cells: float32, shape (n_cells, 2 * dim)."""
    return np.load(out / "stages" / "embed" / "embedding.npy")  # type: ignore[no-any-return]


def components(out: Path) -> FloatArray:
    """Return the principal component scores as a memory map: float32, shape (n_cells, n_comps)."""
    return opened(out).components


def pca(out: Path) -> Pca:
    """Return the principal components: loadings, singular values and variances."""
    from scrcl.prep.artifacts import PCA

    return opened(out).open(PCA)


def selected_genes(out: Path) -> IntArray:
    """Return the positions of the selected genes in the input: shape (n_genes,)."""
    from scrcl.prep.artifacts import SELECTED_GENES

    return np.asarray(opened(out).open(SELECTED_GENES))


def retained(out: Path) -> BoolArray:
    """Return which cells of the input are in the run: bool, shape (n_cells_of_input,)."""
    from scrcl.prep.artifacts import STATS

    return opened(out).open(STATS).retained


def log_values(out: Path) -> Any:
    """Return the log values of the selected genes: CSR of float64, cells by genes."""
    from scipy import sparse

    from scrcl.prep.artifacts import FEATURES

    rows = [block for _, block in opened(out).open(FEATURES)]
    return sparse.vstack(rows, format="csr").astype(np.float64)


def graph(out: Path) -> Graph:
    """Return the graph of cells; its edges stay on disk."""
    return opened(out).graph


class MicroClusters(NamedTuple):
    """The micro-clusters of a run."""

    means: FloatArray
    """shape (n_micro, n_dims)"""
    cluster_of: IntArray
    """shape (n_micro,): the cluster of each micro-cluster"""


def micro_clusters(out: Path) -> MicroClusters:
    """Return the micro-clusters that the clusters were joined from."""
    from scrcl.cluster.artifacts import CLUSTER_OF_MICRO, MICRO_MEANS

    run = opened(out)
    return MicroClusters(run.open(MICRO_MEANS), run.open(CLUSTER_OF_MICRO))


def cluster_means(out: Path) -> FloatArray:
    """Return the mean of each cluster: float32, shape (n_clusters, n_dims)."""
    from scrcl.cluster.artifacts import CLUSTER_MEANS

    return np.asarray(opened(out).open(CLUSTER_MEANS))


def cluster_record(out: Path) -> ClusterRecord:
    """Return the record of the stage ``cluster``."""
    from scrcl.engine.stages.cluster import ClusterStage

    return opened(out).record(ClusterStage)


def batch_mixing(out: Path) -> BatchMixing | None:
    """Return how far clusters follow the batches; None without batches."""
    from scrcl.engine.stages.batches import BatchesStage

    return opened(out).record(BatchesStage).batches


def result(out: Path) -> Any:
    """Return the result of a whole run: AnnData."""
    return opened(out).to_anndata()


def training_inputs(out: Path) -> Inputs:
    """Return the inputs that a run was trained on, as memory maps."""
    from scrcl.engine.learning import open_inputs
    from scrcl.engine.stages.inputs import METHOD_INPUTS

    run = opened(out)
    inputs: Inputs = open_inputs(run, run.open(METHOD_INPUTS), run.config)
    return inputs


def same_files(one: Path, other: Path, names: Iterable[str]) -> dict[str, bool]:
    """Return, for files named as ``stage/file``, whether both runs have the same bytes."""
    return {
        name: (one / "stages" / name).read_bytes() == (other / "stages" / name).read_bytes()
        for name in names
    }
