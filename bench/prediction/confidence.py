"""Measures of confidence, and how well low values mark the cells that a clustering has wrong.

``python -m bench.prediction.confidence --data DIR``

A run gets the number of classes, and nothing else of the labels. A cell is right if its label is that of its cluster
under the Hungarian matching. Each measure gives every cell a number. Its score is the area under the curve of right
cells against wrong ones.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import Row, logged
from scrcl.cluster.confidence import LOW_CONFIDENCE, confidence, shares_alike

if TYPE_CHECKING:
    import argparse

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["main", "matched"]

N_AGAIN = 5


def _measures(out: Path) -> dict[str, FloatArray]:
    """Return the values of each measure for all cells of a run; the first is the one that runs write."""
    from scipy.spatial.distance import cdist

    from scrcl.cluster.margin import margins
    from scrcl.graph.csr import connectivities

    points, labels, graph = runs.embedding(out), runs.labels(out), runs.graph(out)
    micro, means = runs.micro_clusters(out), runs.cluster_means(out)
    at, n = np.arange(len(labels)), len(means)
    share = np.nan_to_num(shares_alike(graph, labels, 0, graph.n))
    nearest = np.stack(
        [cdist(points, micro.means[micro.cluster_of == k]).min(axis=1) for k in range(n)], axis=1
    )
    others = nearest.copy()
    others[at, labels] = np.inf
    closeness = 1 / np.maximum(cdist(points, means), 1e-9) ** 2
    fuzzy = closeness / closeness.sum(axis=1, keepdims=True)
    around = (
        connectivities(graph).astype(np.float64) @ fuzzy / np.maximum(graph.degrees, 1)[:, None]
    )
    margin, again = margins(points, labels, means), _agreement(points, labels, runs.components(out))
    return {
        "margin and share (written)": confidence(points, labels, means, graph),
        "margin between cluster means": margin,
        "share of graph neighbours": share,
        "margin between micro-clusters": 1 - nearest[at, labels] / others.min(axis=1),
        "agreement of 5 clusterings": again,
        "agreement and share": (again + share) / 2,
        "fuzzy membership": fuzzy[at, labels],
        "fuzzy membership and share": (fuzzy[at, labels] + share) / 2,
        "fuzzy membership of neighbours": around[at, labels],
    }


def _agreement(points: FloatArray, labels: IntArray, scores: FloatArray) -> FloatArray:
    """Return how often a cell keeps its cluster when the cells are clustered again from other seeds."""
    from scrcl.cluster.find import cluster
    from scrcl.cluster.settings import ClusterSettings

    k = int(labels.max()) + 1
    again = [
        matched(cluster(points, k, settings=ClusterSettings(), seed=100 + i, scores=scores), labels)
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


def _run_case(path: Path, seed: int, settings: list[str]) -> dict[str, Any]:
    """Run one set up to the clusters; returns its row."""
    from sklearn.metrics import roc_auc_score

    true = np.unique(read_labelled(path).labels.astype(str), return_inverse=True)[1]
    config = runs.config_of(settings, n_clusters=int(true.max()) + 1, seed=seed)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder)
        runs.run(path, out, config, until="cluster")
        found = _measures(out)
        right = matched(runs.labels(out), true[runs.retained(out)])
    low = next(iter(found.values())) < LOW_CONFIDENCE
    return {
        "dataset": path.stem,
        "seed": seed,
        "n_cells": len(right),
        "right": float(right.mean()),
        "low": float(low.mean()),
        "right_of_low": float(right[low].mean()) if low.any() else None,
        "auc": {
            name: float(roc_auc_score(right, values)) if 0 < right.mean() < 1 else None
            for name, values in found.items()
        },
    }


def _auc_table(rows: list[Row]) -> list[str]:
    """Return a table with a row for each measure: the mean over all, the least, and the mean of each set."""
    sets = sorted({row["dataset"] for row in rows})
    lines = []
    scores = {name: {s: _of(rows, s, name) for s in sets} for name in rows[0]["auc"]}
    for name, by_set in sorted(scores.items(), key=lambda item: -_mean(item[1].values())):
        every = [row["auc"][name] for row in rows if row["auc"][name] is not None]
        cells = [f"{_mean(by_set[s]):.3f}" for s in sets]
        mean, least = _mean(by_set.values()), min(every, default=np.nan)
        lines.append([name, f"**{mean:.3f}**", f"{least:.3f}", *cells])
    return table(["measure", "**mean AUC**", "least", *sets], lines)


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
    """Run all sets without coordinates, and write the tables and their rows."""
    parser = parser_of("bench.prediction.confidence", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1])
    add_settings(parser)
    args = parsed(parser, arguments)
    cases = product(labelled_files(args.data, args.sets, spatial=False), args.seeds)
    found = ({**stamp(), **_run_case(path, seed, args.set)} for path, seed in cases)
    _write(args, logged(args.out, found))


def _write(args: argparse.Namespace, rows: list[Row]) -> None:
    notes = (
        "Area under the curve of cells that have the label of their cluster (Hungarian matching) against the others, "
        "means over seeds. One half is chance."
    )
    low = [
        [
            row["dataset"],
            row["seed"],
            row["n_cells"],
            f"{row['right']:.1%}",
            f"{row['low']:.1%}",
            "" if row["right_of_low"] is None else f"{row['right_of_low']:.1%}",
        ]
        for row in rows
    ]
    columns = ["set", "seed", "cells", "right", f"below {LOW_CONFIDENCE}", "right of these"]
    body = [notes, "", *_auc_table(rows), ""]
    body += [
        f"Cells of a confidence below {LOW_CONFIDENCE}, and the share of them that is right:",
        "",
    ]
    body += table(columns, low)
    write_results(args, "Confidence of clusters", body)


if __name__ == "__main__":
    main()
