"""Domains of a tissue: which graph, and how many spots to refine labels by.

``python -m bench.spatial --data DIR --out bench/results/NAME.md``

Every set with ``obsm["spatial"]``, and tissues in layers that are drawn here (`bench.spatial.layers`), are clustered at
the number of classes by scrcl on several graphs and by PCA + k-means and PCA + Leiden. Labels of each are then
refined by 0 to 50 nearest spots and scored against the classes, which nothing else sees.
Coherence is the share of the 6 nearest spots with the same label, whatever the graph was.

How much of the differences between seeds is the clustering's own is told apart: the embedding of each run on the
default graph, whole and by its two views, is clustered from several seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np

from bench._frame.process import commit
from bench.accuracy.peers import by_kmeans, by_leiden, components
from bench.spatial.layers import LAYERED, layered
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterConfig
from scrcl.engine.evaluate import score
from scrcl.engine.load_config import load_config
from scrcl.engine.pipeline import run_pipeline
from scrcl.graph.domains import coherence, majority_labels
from scrcl.graph.spatial import spatial_knn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.typing import IntArray

__all__ = ["main", "restarts_table", "table"]

LABELS = "cell_type"
GRAPHS = {"6": 6, "15": 15, "30": 30}
"""Neighbours of a cell in the tissue."""
REFINED_BY = (0, 10, 12, 20, 50)
RESTARTS = 4
REPEATED = "15"
"""The graph whose embeddings are clustered again; the first that is asked for where it is not among them."""
COHERENT_WITH = 6
PEERS = {"pca_kmeans": by_kmeans, "pca_leiden": by_leiden}

_HEAD = "| method | refined by | ARI | NMI | macro F1 | F1 of the smallest class | coherence (by chance) | clusters |"

Row = dict[str, Any]


def cases(
    path: Path,
    scratch: Path,
    *,
    seeds: list[int],
    graphs: list[str],
    settings: list[str],
) -> Iterator[Row]:
    """Cluster one file by each method, with each seed; yield a row for each refinement of each."""
    cells = anndata.read_h5ad(path)
    cells = cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0]
    true, places = cells.obs[LABELS].to_numpy(), np.asarray(cells.obsm["spatial"], np.float64)
    near = spatial_knn(places, COHERENT_WITH).ids
    codes = np.unique(true, return_inverse=True)[1]
    of_labels = coherence(codes, near)
    for seed in seeds:
        for method in [*(f"scrcl {graph}" for graph in graphs), *PEERS]:
            out = scratch / f"{path.stem}-{method}-{seed}"
            labels = _clustered(path, out, method, len(set(true)), seed, settings)
            for n in REFINED_BY:
                refined = majority_labels(labels, places, n) if n else labels
                found = coherence(refined, near)
                yield {
                    "set": path.stem,
                    "method": method,
                    "seed": seed,
                    "refined_by": n,
                    **score(refined, true),
                    "coherence": found.share,
                    "coherence_by_chance": found.by_chance,
                    "label_coherence": of_labels.share,
                    "smallest_f1": _smallest_f1(refined, codes),
                }


def _clustered(
    path: Path, out: Path, method: str, k: int, seed: int, settings: list[str]
) -> IntArray:
    """Return the clusters of a method, not refined: int, shape (n_spots,); ``out`` is for a run."""
    if method in PEERS:
        return np.asarray(PEERS[method](components(path, seed=seed), k, seed=seed), np.int32)
    config = load_config(
        settings=[
            *settings,
            f"graph.n_neighbors={GRAPHS[method.removeprefix('scrcl ')]}",
            "cluster.refine_labels=0",
        ],
        overrides={"spatial": True, "n_clusters": k, "seed": seed, "device": "cpu"},
    )
    run_pipeline([path], out, config, until="cluster")
    return np.asarray(np.load(out / "stages" / "cluster" / "labels.npy"))


def restarts(path: Path, scratch: Path, *, seeds: list[int], graph: str) -> Iterator[Row]:
    """Cluster the embeddings that `cases` left from several seeds; yield a row for each run and view."""
    cells = anndata.read_h5ad(path)
    true = cells.obs[LABELS].to_numpy()[np.asarray(cells.X.sum(axis=1)).ravel() > 0]
    for seed in seeds:
        out = scratch / f"{path.stem}-scrcl {graph}-{seed}"
        whole = np.load(out / "stages" / "embed" / "embedding.npy")
        half = whole.shape[1] // 2
        views = {"E": whole, "E^m": whole[:, :half], "E^g": whole[:, half:]}
        for view, points in views.items():
            found = [
                cluster(
                    np.ascontiguousarray(points), len(set(true)), config=ClusterConfig(), seed=s
                )
                for s in range(RESTARTS)
            ]
            aris = [score(labels, true)["ari"] for labels in found]
            pairs = [score(a, b)["ari"] for a, b in combinations(found, 2)]
            yield {
                "set": path.stem,
                "view": view,
                "graph": graph,
                "seed": seed,
                "ari": float(np.mean(aris)),
                "least_ari": min(aris),
                "most_ari": max(aris),
                "agreement": float(np.mean(pairs)),
            }


def _smallest_f1(found: IntArray, true: IntArray) -> float:
    """Return the best F1 that one cluster has for the smallest class."""
    mine = true == np.argmin(np.bincount(true))
    hits = np.bincount(found[mine], minlength=int(found.max()) + 1)
    return float((2 * hits / (np.bincount(found) + mine.sum()).clip(1)).max())


def table(rows: list[Row]) -> str:
    """Markdown: for each set a row a method and refinement; mean and deviation over seeds."""
    lines: list[str] = []
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        sizes = f"{mine[0]['n_cells']} spots, {mine[0]['n_labels']} classes"
        told = f"### {name}: {sizes}, whose coherence is {mine[0]['label_coherence']:.3f}"
        lines += ["", told, "", _HEAD, "|---" * 8 + "|"]
        for method in dict.fromkeys(row["method"] for row in mine):
            for n in REFINED_BY:
                some = [r for r in mine if (r["method"], r["refined_by"]) == (method, n)]
                if some:
                    lines.append(f"| {method} | {n} | " + " | ".join(_shown(some)) + " |")
    return "\n".join(lines)


def restarts_table(rows: list[Row]) -> str:
    """Markdown: for each set and view, ARI over runs and restarts, and how far restarts agree."""
    lines = [
        "| set | clustered | ARI | of one embedding, least to most | restarts agree (ARI) |",
        "|---" * 5 + "|",
    ]
    for name, view in dict.fromkeys((row["set"], row["view"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["view"]) == (name, view)]
        spans = ", ".join(f"{row['least_ari']:.3f} to {row['most_ari']:.3f}" for row in mine)
        mean, agreed = (np.mean([row[key] for row in mine]) for key in ("ari", "agreement"))
        lines.append(f"| {name} | {view} | {mean:.3f} | {spans} | {agreed:.3f} |")
    return "\n".join(lines)


def _shown(rows: list[Row]) -> list[str]:
    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in rows]))

    both = [
        f"{mean(name):.3f} ± {np.std([row[name] for row in rows]):.3f}"
        for name in ("ari", "nmi", "macro_f1", "smallest_f1")
    ]
    return [
        *both,
        f"{mean('coherence'):.3f} ({mean('coherence_by_chance'):.3f})",
        f"{mean('n_clusters'):.1f}",
    ]


def _report(rows: list[Row], again: list[Row], seeds: str) -> str:
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"""# Spatial domains, K given

`python -m bench.spatial {" ".join(sys.argv[1:])}`

Commit {commit()}; {where}; seeds {seeds}, mean ± deviation over them. `scrcl 15` is a graph of 15 neighbours in
the tissue; all else is the default configuration. Rows: the `.json` file beside this one.
{table(rows)}

## What the clustering's own seed does

The embedding of each run on the graph {again[0]["graph"]} clustered from {RESTARTS} seeds, not refined; one span a run.

{restarts_table(again)}
"""


def main(arguments: list[str] | None = None) -> None:
    """Run all cases; write the table and its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--layers", default=",".join(LAYERED), help="layered tissues to draw")
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    args = parser.parse_args(arguments)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    rows: list[Row] = []
    again: list[Row] = []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        for path in _inputs(args.data, Path(folder), [n for n in args.layers.split(",") if n]):
            graphs = args.graphs.split(",")
            scratch = Path(folder)
            for row in cases(path, scratch, seeds=seeds, graphs=graphs, settings=args.set):
                rows.append(row)
                print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
            again += restarts(
                path, scratch, seeds=seeds, graph=REPEATED if REPEATED in graphs else graphs[0]
            )
            args.out.with_suffix(".json").write_text(
                "[\n" + ",\n".join(map(json.dumps, rows + again)) + "\n]\n", encoding="utf-8"
            )
            args.out.write_text(_report(rows, again, args.seeds), encoding="utf-8")


def _inputs(data: Path, scratch: Path, names: list[str]) -> Iterator[Path]:
    """Yield the spatial sets of a folder, and then layered tissues."""
    for path in sorted(data.glob("*.h5ad")):
        cells = anndata.read_h5ad(path, backed="r")
        spatial = "spatial" in cells.obsm
        cells.file.close()
        if spatial:
            yield path
    for name in names:
        layered(name).write_h5ad(scratch / f"{name}.h5ad")
        yield scratch / f"{name}.h5ad"


if __name__ == "__main__":
    main()
