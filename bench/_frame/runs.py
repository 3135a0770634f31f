"""Runs of scrcl, and the results that finished runs keep: the one place that knows their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scrcl import RunConfig
    from scrcl.graph.csr import Graph
    from scrcl.prep.pca import Pca
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = [
    "MicroClusters",
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
    from scrcl.engine.pipeline import run_matrix, run_pipeline

    if hasattr(inputs, "obs"):
        from scrcl.io.open import from_anndata

        run_matrix(
            lambda _: from_anndata(inputs), out, config, until=until, start=start, restart=restart
        )
        return
    files = inputs if isinstance(inputs, list) else [inputs]
    run_pipeline(files, out, config, until=until, start=start, restart=restart)


def cluster_again(path: Path, out: Path, *, n_clusters: int | str) -> IntArray:
    """Cluster the cells of a finished run again, for another number of clusters or ``"auto"``.

    No stage before ``cluster`` reads that number, so a whole run with it gives the same labels. The
    labels in ``out`` are replaced.
    """
    from scrcl.engine.load_config import load_config

    config = load_config(out / "config.toml", overrides={"n_clusters": n_clusters})
    run(path, out, config, start="cluster", until="cluster")
    return labels(out)


def _array(out: Path, stage: str, name: str, *, mapped: bool = False) -> Any:
    return np.load(out / "stages" / stage / f"{name}.npy", mmap_mode="r" if mapped else None)


def manifest(out: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run."""
    from scrcl.engine.run_folder import read_manifest

    return read_manifest(out)


def labels(out: Path) -> IntArray:
    """Return the cluster of each cell: int32, shape (n_cells,)."""
    return np.asarray(_array(out, "cluster", "labels"))


def embedding(out: Path) -> FloatArray:
    """Return E of all cells: float32, shape (n_cells, 2 * dim)."""
    return np.asarray(_array(out, "embed", "embedding"))


def components(out: Path) -> FloatArray:
    """Return the principal component scores as a memory map: float32, shape (n_cells, n_comps)."""
    found: FloatArray = _array(out, "reduce", "scores", mapped=True)
    return found


def pca(out: Path) -> Pca:
    """Return the principal components: loadings, singular values and variances."""
    from scrcl.prep.pca import Pca

    return Pca.load(out / "stages" / "reduce" / "pca.npz")


def selected_genes(out: Path) -> IntArray:
    """Return the positions of the selected genes in the input: shape (n_genes,)."""
    return np.asarray(_array(out, "features", "genes"))


def retained(out: Path) -> BoolArray:
    """Return which cells of the input are in the run: bool, shape (n_cells_of_input,)."""
    from scrcl.prep.stats import MatrixStats

    return MatrixStats.load(out / "stages" / "stats").kept


def log_values(out: Path) -> Any:
    """Return the log values of the selected genes: CSR of float64, cells by genes."""
    from scipy import sparse

    from scrcl.prep.feature_store import FeatureStore

    store = FeatureStore.open(out / "stages" / "features")
    return sparse.vstack([rows for _, rows in store], format="csr").astype(np.float64)


def graph(out: Path) -> Graph:
    """Return the graph of cells, in memory."""
    from scrcl.graph.csr import Graph

    return Graph.load(out / "stages" / "graph" / "csr", mmap=False)


class MicroClusters(NamedTuple):
    """The micro-clusters of a run."""

    means: FloatArray
    """shape (n_micro, n_dims)"""
    cluster_of: IntArray
    """shape (n_micro,): the cluster of each micro-cluster"""


def micro_clusters(out: Path) -> MicroClusters:
    """Return the micro-clusters that the clusters were joined from."""
    return MicroClusters(_array(out, "cluster", "centres"), _array(out, "cluster", "owners"))


def cluster_means(out: Path) -> FloatArray:
    """Return the mean of each cluster: float32, shape (n_clusters, n_dims)."""
    return np.asarray(_array(out, "cluster", "centroids"))


def cluster_record(out: Path) -> dict[str, Any]:
    """Return what ``run.json`` records of the stage ``cluster``."""
    found: dict[str, Any] = next(
        stage for stage in manifest(out)["stages"] if stage["name"] == "cluster"
    )
    return found


def result(out: Path) -> Any:
    """Return the result of a whole run: AnnData."""
    import anndata

    return anndata.read_h5ad(out / "result.h5ad")


def training_inputs(out: Path) -> Inputs:
    """Return the inputs that a finished run was trained on, as memory maps."""
    from scrcl.graph.csr import Graph
    from scrcl.train.methods.scrcl.minibatch import Inputs, smooth_genes

    sketch = _array(out, "genes", "sketch")
    return Inputs(
        x=_array(out, "views", "x", mapped=True),
        ax=_array(out, "views", "ax", mapped=True),
        genes=smooth_genes(sketch / sketch.std(), Graph.load(out / "stages" / "genes" / "csr")),
        graph=Graph.load(out / "stages" / "views" / "csr"),
        cells=_array(out, "views", "cells", mapped=True),
    )


def same_files(one: Path, other: Path, names: Iterable[str]) -> dict[str, bool]:
    """Return, for files named as ``stage/file``, whether both runs have the same bytes."""
    return {
        name: (one / "stages" / name).read_bytes() == (other / "stages" / name).read_bytes()
        for name in names
    }
