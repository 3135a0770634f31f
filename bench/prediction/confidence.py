"""How well a low confidence marks the cells that a clustering has wrong, by way of measuring it.

``python -m bench.prediction.confidence --data DIR --out bench/results/NAME.md``

A run is given the number of classes, and nothing else of the labels. A cell is right where its label is that of its
cluster under the Hungarian matching. Each way gives every cell a number; its score is the area under the curve of right
cells against wrong ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.process import commit

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["main", "run_case", "table", "ways"]

LABELS = "cell_type"
N_AGAIN = 5


def ways(
    points: FloatArray,
    labels: IntArray,
    centres: FloatArray,
    owners: IntArray,
    centroids: FloatArray,
    graph: Graph,
    scores: FloatArray,
) -> dict[str, FloatArray]:
    """Return what each way says of each cell; the first is what a run writes. ``scores`` are components."""
    from scipy.spatial.distance import cdist

    from scrcl.cluster.confidence import confidence, shares_alike
    from scrcl.cluster.margin import margins
    from scrcl.graph.csr import connectivities

    at, n = np.arange(len(labels)), len(centroids)
    share = np.nan_to_num(shares_alike(graph, labels, 0, graph.n))
    nearest = np.stack([cdist(points, centres[owners == k]).min(axis=1) for k in range(n)], axis=1)
    others = nearest.copy()
    others[at, labels] = np.inf
    closeness = 1 / np.maximum(cdist(points, centroids), 1e-9) ** 2
    fuzzy = closeness / closeness.sum(axis=1, keepdims=True)
    around = (
        connectivities(graph).astype(np.float64) @ fuzzy / np.maximum(graph.degrees, 1)[:, None]
    )
    margin, again = margins(points, labels, centroids), _agreement(points, labels, scores)
    return {
        "margin and share (written)": confidence(points, labels, centroids, graph),
        "margin between centroids": margin,
        "share of graph neighbours": share,
        "margin between micro-clusters": 1 - nearest[at, labels] / others.min(axis=1),
        "agreement of 5 clusterings": again,
        "agreement and share": (again + share) / 2,
        "fuzzy membership": fuzzy[at, labels],
        "fuzzy membership and share": (fuzzy[at, labels] + share) / 2,
        "fuzzy membership of neighbours": around[at, labels],
    }


def _agreement(points: FloatArray, labels: IntArray, scores: FloatArray) -> FloatArray:
    """Return how often a cell has the same cluster when all is clustered again from other seeds."""
    from scrcl.cluster.find import cluster
    from scrcl.cluster.settings import ClusterConfig

    k = int(labels.max()) + 1
    again = [
        matched(cluster(points, k, config=ClusterConfig(), seed=100 + i, scores=scores), labels)
        for i in range(N_AGAIN)
    ]
    return np.asarray(np.mean(again, axis=0))


def matched(clusters: IntArray, labels: IntArray) -> BoolArray:
    """Return which cells have the label of their cluster, matched one to one by the Hungarian method."""
    from scipy.optimize import linear_sum_assignment

    n = max(int(clusters.max()), int(labels.max())) + 1
    counts = np.bincount(clusters.astype(np.int64) * n + labels, minlength=n * n).reshape(n, n)
    _, label_of = linear_sum_assignment(counts, maximize=True)
    return np.asarray(label_of[clusters] == labels)


def run_case(path: Path, seed: int, settings: list[str]) -> dict[str, Any]:
    """Run one set up to the clusters; returns its row."""
    import anndata
    from sklearn.metrics import roc_auc_score

    from scrcl.cluster.confidence import UNSURE
    from scrcl.engine.load_config import load_config
    from scrcl.engine.pipeline import run_pipeline
    from scrcl.graph.csr import Graph

    true = np.unique(anndata.read_h5ad(path).obs[LABELS].astype(str), return_inverse=True)[1]
    config = load_config(
        settings=settings, overrides={"n_clusters": int(true.max()) + 1, "seed": seed}
    )
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        run_pipeline([path], Path(folder), config, until="cluster")
        stages = Path(folder) / "stages"
        kept = np.load(stages / "stats" / "kept.npy")
        points = np.load(stages / "embed" / "embedding.npy")
        labels, centres, owners, centroids = (
            np.load(stages / "cluster" / f"{name}.npy")
            for name in ("labels", "centres", "owners", "centroids")
        )
        graph = Graph.load(stages / "graph" / "csr", mmap=False)
        scores = np.load(stages / "reduce" / "scores.npy")
        said = ways(points, labels, centres, owners, centroids, graph, scores)
    right = matched(labels, true[kept])
    unsure = next(iter(said.values())) < UNSURE
    return {
        "dataset": path.stem,
        "seed": seed,
        "n_cells": len(right),
        "right": float(right.mean()),
        "unsure": float(unsure.mean()),
        "right_of_unsure": float(right[unsure].mean()) if unsure.any() else None,
        "auc": {
            name: float(roc_auc_score(right, values)) if 0 < right.mean() < 1 else None
            for name, values in said.items()
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a row a way with the mean over all, the least, and the mean of each set."""
    sets = sorted({row["dataset"] for row in rows})
    lines = [
        "| way | **mean AUC** | least | " + " | ".join(sets) + " |",
        "|---" * (3 + len(sets)) + "|",
    ]
    scores = {name: {s: _of(rows, s, name) for s in sets} for name in rows[0]["auc"]}
    for name, by_set in sorted(scores.items(), key=lambda item: -_mean(item[1].values())):
        every = [row["auc"][name] for row in rows if row["auc"][name] is not None]
        cells = " | ".join(f"{_mean(by_set[s]):.3f}" for s in sets)
        lines.append(
            f"| {name} | **{_mean(by_set.values()):.3f}** | {min(every, default=np.nan):.3f} | {cells} |"
        )
    return "\n".join(lines)


def _of(rows: list[dict[str, Any]], dataset: str, name: str) -> list[float]:
    return [
        row["auc"][name]
        for row in rows
        if row["dataset"] == dataset and row["auc"][name] is not None
    ]


def _mean(values: Any) -> float:
    """Mean of numbers, or of the means of lists that have any."""
    flat = [np.mean(v) for v in values if np.size(v)]
    return float(np.mean(flat)) if flat else float("nan")


def main(arguments: list[str] | None = None) -> None:
    """Run all sets without coordinates, and write the table and the rows as JSON beside it."""
    import anndata

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--set", action="append", default=[], help="a setting of the runs")
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"), help="date in the heading")
    given = parser.parse_args(arguments)
    rows = []
    for path in sorted(given.data.glob("*.h5ad")):
        if "spatial" in anndata.read_h5ad(path, backed="r").obsm:
            continue
        for seed in map(int, given.seeds.split(",")):
            rows.append(run_case(path, seed, given.set))
            print(rows[-1], flush=True)
    given.out.write_text(_page(given, rows), encoding="utf-8")
    given.out.with_suffix(".json").write_text(json.dumps(rows, indent=1))


def _page(given: argparse.Namespace, rows: list[dict[str, Any]]) -> str:
    settings = "".join(f" --set {one}" for one in given.set)
    lines = ["| set | seed | cells | right | below 0.5 | right of these |", "|---" * 6 + "|"]
    for row in rows:
        of_unsure = "" if row["right_of_unsure"] is None else f"{row['right_of_unsure']:.1%}"
        lines.append(
            f"| {row['dataset']} | {row['seed']} | {row['n_cells']} | {row['right']:.1%} | {row['unsure']:.1%} "
            f"| {of_unsure} |"
        )
    return (
        f"# Confidence of clusters, {given.date}\n\n"
        f"`python -m bench.prediction.confidence --data {given.data.name} --out {given.out} --seeds {given.seeds}{settings}`\n\n"
        f"Commit {commit()}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. "
        "Area under the curve of cells that have the label of their cluster (Hungarian matching) against the "
        "others, means over seeds; one half is chance.\n\n"
        + table(rows)
        + "\n\nCells of a confidence below 0.5, and the share of them that is right:\n\n"
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
