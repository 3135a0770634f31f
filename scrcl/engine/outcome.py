"""What the stage ``cluster`` leaves: arrays in its folder, and figures for the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.cluster.confidence import UNSURE, confidence

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.cluster.find import Clusters
    from scrcl.engine.stage import Run
    from scrcl.typing import FloatArray, IntArray

__all__ = ["describe_confidence", "leave"]

_ARRAYS = ("labels", "centres", "owners", "sizes", "centroids", "tree", "group_tree")


def leave(run: Run, found: Clusters, folder: Path) -> dict[str, Any]:
    """Write the clustering and the confidence of each cell; returns what to record.

    Files are named as the fields of `Clusters`; ``k8.npy`` has the labels of 8 clusters of ``cluster.also``, and
    ``confidence.npy`` float32 values.
    """
    points = run.array("embed", run.config.clustered_on)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(found, name))
    for k, labels in found.also.items():
        np.save(folder / f"k{k}.npy", labels)
    sure = confidence(points, found.labels, found.centroids, run.graph("graph"))
    np.save(folder / "confidence.npy", sure)
    return {
        "method": run.config.cluster.method,
        **({} if found.choice is None else {"choice": found.choice._asdict()}),
        "also": [
            {"asked": k, "found": int(labels.max()) + 1, "nested": found.nested[k]}
            for k, labels in found.also.items()
        ],
        "notes": found.notes,
        "confidence": describe_confidence(sure, found.labels),
        **_mixing(run, found.labels, points),
    }


def describe_confidence(sure: FloatArray, labels: IntArray) -> dict[str, Any]:
    """Return quantiles over all cells, and the median and the number of unsure cells of each cluster."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    by_cluster = np.split(sure[order], ends[:-1])
    quantiles = np.quantile(sure, (0.05, 0.25, 0.5, 0.75, 0.95))
    return {
        "mean": float(sure.mean()),
        **{f"p{share}": float(v) for share, v in zip((5, 25, 50, 75, 95), quantiles, strict=True)},
        "n_unsure": int(np.count_nonzero(sure < UNSURE)),
        "median_by_cluster": [float(np.median(values)) for values in by_cluster],
        "unsure_by_cluster": [int(np.count_nonzero(values < UNSURE)) for values in by_cluster],
    }


def _mixing(run: Run, labels: IntArray, points: FloatArray) -> dict[str, Any]:
    """Return how far the clusters follow the batches, where ``batch_key`` names them."""
    from scrcl.cluster.mixing import describe_mixing
    from scrcl.engine.covariates import read_column
    from scrcl.prep.stats import MatrixStats

    config = run.config
    batches = None
    if config.batch_key is not None:
        batches = read_column(run.matrix.fresh_obs(), config.batch_key, "batch")
    if batches is None:
        return {}
    kept = MatrixStats.load(run.stage("stats")).retained
    return {
        "batches": describe_mixing(
            labels,
            batches.of(kept).codes,
            run.array("graph", "ids"),
            points,
            n_neighbors=config.graph.n_neighbors,
            n_cells=config.cluster.auto_cells,
            seed=config.seed,
        )
    }
