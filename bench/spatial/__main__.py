"""Spatial domains of a tissue: the graph, and the number of neighbours for smoothing labels.

``python -m bench.spatial --data DIR``

All sets with ``obsm["spatial"]``, and simulated tissues in layers (`bench.spatial.layers`), are clustered at the
number of classes: by scrcl on several graphs, by PCA + k-means and by PCA + Leiden. The labels are then smoothed by the
0 to 50 nearest cells and scored against the classes, which nothing else uses. Coherence is the share of the 6 nearest
cells with the same label, for every graph.

A second table shows the effect of the clustering's own seed. The embedding of each run on the default graph, whole and
by its two views, is clustered from several seeds.
"""

from __future__ import annotations

import tempfile
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import (
    add_data,
    add_seeds,
    add_settings,
    choices_of,
    parsed,
    parser_of,
)
from bench._frame.labelled import LABELS, labelled_files, read_counted
from bench._frame.page import head, line, table, write_results
from bench._frame.rows import write_rows
from bench._frame.runs import config_of
from bench.accuracy.peers import by_kmeans, by_leiden, components
from bench.spatial.layers import LAYERED, layered
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.evaluate import score
from scrcl.graph.domains import coherence, majority_labels
from scrcl.graph.spatial import spatial_knn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from scrcl.typing import IntArray

__all__ = ["SMOOTHED_BY", "main"]

GRAPHS = {"6": 6, "15": 15, "30": 30}
"""Neighbours of a cell in the tissue"""
SMOOTHED_BY = (0, 10, 12, 20, 50)
RESTARTS = 4
REPEATED = "15"
"""The graph whose embeddings are clustered again; the first of ``--graphs`` where it is not among them"""
COHERENT_WITH = 6
PEERS = {"pca_kmeans": by_kmeans, "pca_leiden": by_leiden}

_COLUMNS = (
    "method",
    "smoothed by",
    "ARI",
    "NMI",
    "macro F1",
    "F1 of the smallest class",
    "coherence (by chance)",
    "clusters",
)

Row = dict[str, Any]


def _cases(
    path: Path,
    scratch: Path,
    *,
    seeds: list[int],
    graphs: list[str],
    settings: list[str],
) -> Iterator[Row]:
    """Cluster one file by each method, with each seed; yields a row for each smoothing of each."""
    cells = read_counted(path)
    true, coordinates = cells.obs[LABELS].to_numpy(), np.asarray(cells.obsm["spatial"], np.float64)
    near = spatial_knn(coordinates, COHERENT_WITH).ids
    codes = np.unique(true, return_inverse=True)[1]
    of_labels = coherence(codes, near)
    for seed in seeds:
        for method in [*(f"scrcl {graph}" for graph in graphs), *PEERS]:
            out = scratch / f"{path.stem}-{method}-{seed}"
            labels = _clustered(path, out, method, len(set(true)), seed, settings)
            for n in SMOOTHED_BY:
                smoothed = majority_labels(labels, coordinates, n) if n else labels
                found = coherence(smoothed, near)
                yield {
                    "set": path.stem,
                    "method": method,
                    "seed": seed,
                    "smoothed_by": n,
                    **score(smoothed, true),
                    "coherence": found.share,
                    "coherence_by_chance": found.by_chance,
                    "label_coherence": of_labels.share,
                    "smallest_f1": _smallest_f1(smoothed, codes),
                }


def _clustered(
    path: Path, out: Path, method: str, k: int, seed: int, settings: list[str]
) -> IntArray:
    """Return the clusters of a method, not smoothed: int, shape (n_cells,); ``out`` is the folder of a run."""
    if method in PEERS:
        return np.asarray(PEERS[method](components(path, seed=seed), k, seed=seed), np.int32)
    config = config_of(
        [
            *settings,
            f"graph.spatial_neighbors={GRAPHS[method.removeprefix('scrcl ')]}",
            "cluster.refine_labels=0",
        ],
        spatial=True,
        n_clusters=k,
        seed=seed,
        device="cpu",
    )
    runs.run(path, out, config, until="cluster")
    return runs.labels(out)


def _restarts(path: Path, scratch: Path, *, seeds: list[int], graph: str) -> Iterator[Row]:
    """Cluster the embeddings of the runs of `_cases` from several seeds; yields a row for each run and view."""
    true = read_counted(path).obs[LABELS].to_numpy()
    for seed in seeds:
        whole = runs.embedding(scratch / f"{path.stem}-scrcl {graph}-{seed}")
        half = whole.shape[1] // 2
        views = {"E": whole, "E^m": whole[:, :half], "E^g": whole[:, half:]}
        for view, points in views.items():
            found = [
                cluster(
                    np.ascontiguousarray(points), len(set(true)), settings=ClusterSettings(), seed=s
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


def _domains_table(rows: list[Row]) -> list[str]:
    """Return a table for each set, with a row for each method and smoothing; mean and deviation over seeds."""
    lines: list[str] = []
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        sizes = f"{mine[0]['n_cells']} cells, {mine[0]['n_labels']} classes"
        title = f"### {name}: {sizes} with a coherence of {mine[0]['label_coherence']:.3f}"
        lines += ["", title, "", *head(*_COLUMNS)]
        for method in dict.fromkeys(row["method"] for row in mine):
            for n in SMOOTHED_BY:
                some = [r for r in mine if (r["method"], r["smoothed_by"]) == (method, n)]
                if some:
                    lines += line(method, n, *_shown(some))
    return lines


def _restarts_table(rows: list[Row]) -> list[str]:
    """Return a table with a row for each set and view: ARI over runs and restarts, agreement of restarts."""
    columns = ["set", "clustered", "ARI", "of one embedding, least to most", "restarts agree (ARI)"]
    lines = []
    for name, view in dict.fromkeys((row["set"], row["view"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["view"]) == (name, view)]
        spans = ", ".join(f"{row['least_ari']:.3f} to {row['most_ari']:.3f}" for row in mine)
        mean, agreed = (np.mean([row[key] for row in mine]) for key in ("ari", "agreement"))
        lines.append([name, view, f"{mean:.3f}", spans, f"{agreed:.3f}"])
    return table(columns, lines)


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


def _write(args: argparse.Namespace, rows: list[Row], again: list[Row]) -> None:
    notes = """\
Seeds {seeds}, mean ± standard deviation over seeds. `scrcl 15` is a graph of 15 neighbours in the tissue; all other
settings are the defaults. The `.jsonl` file of the same name has the rows."""
    restarted = f"""
## Effect of the clustering's own seed

The embedding of each run on the graph {again[0]["graph"]}, clustered from {RESTARTS} seeds, not smoothed; one span for
each run.
"""
    write_rows(args.out, rows + again)
    write_results(
        args,
        "Spatial domains, K given",
        [
            *notes.format(seeds=args.seeds).splitlines(),
            *_domains_table(rows),
            *restarted.splitlines(),
            "",
            *_restarts_table(again),
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Run all cases; write the tables and their rows."""
    parser = parser_of("bench.spatial", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1, 2])
    add_settings(parser)
    parser.add_argument("--graphs", type=choices_of(GRAPHS, "graphs"), default=list(GRAPHS))
    parser.add_argument(
        "--layers",
        type=choices_of(LAYERED, "layered tissues"),
        default=list(LAYERED),
        help="layered tissues to simulate",
    )
    args = parsed(parser, arguments)
    rows: list[Row] = []
    again: list[Row] = []
    graph = REPEATED if REPEATED in args.graphs else args.graphs[0]
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        scratch = Path(folder)
        for path in _inputs(args, scratch):
            for row in _cases(
                path, scratch, seeds=args.seeds, graphs=args.graphs, settings=args.set
            ):
                rows.append(row)
                print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
            again += _restarts(path, scratch, seeds=args.seeds, graph=graph)
            _write(args, rows, again)


def _inputs(args: argparse.Namespace, scratch: Path) -> Iterator[Path]:
    """Yield the spatial sets of the folder, and then layered tissues."""
    yield from labelled_files(args.data, args.sets, spatial=True)
    for name in args.layers:
        layered(name).write_h5ad(scratch / f"{name}.h5ad")
        yield scratch / f"{name}.h5ad"


if __name__ == "__main__":
    main()
