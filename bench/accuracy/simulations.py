"""Both methods and their peers on simulated cells that are ever harder to tell apart, with a plot.

``python -m bench.accuracy.simulations``

Three series, after the simulations of the scGPCL paper. Each changes one setting of ``scrcl simulate`` and keeps the
others:

=========  ==============================================================================
dropout    share of the values above zero that are lost
signal     factor of the log fold changes between types
imbalance  orders of magnitude between the largest and the smallest type
=========  ==============================================================================

Every way of clustering gets the number of types. ``scrcl`` is a run with its defaults. ``scRCL, k-means`` and
``scGPCL, k-means`` cluster the embeddings of the methods, as in the papers. scVI takes part where it is installed.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import (
    add_only,
    add_seeds,
    add_settings,
    parsed,
    parser_of,
)
from bench._frame.conditions import stamp
from bench._frame.labelled import has_counts, read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.accuracy.cases import measured
from bench.accuracy.peers import by_kmeans, by_leiden, components
from bench.accuracy.scvi import latent, missing
from bench.accuracy.simulated import write_simulated

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench._frame.labelled import Labelled
    from bench._frame.rows import Row

__all__ = ["SERIES", "main"]

SERIES = {
    "dropout": (0.0, 0.3, 0.6),
    "signal": (1.0, 0.6, 0.3),
    "imbalance": (0.0, 1.0, 3.0),
}
"""Values of the setting that each series changes, from easy to hard."""

USUAL = {"dropout": 0.0, "signal": 1.0, "imbalance": 1.0}
"""The settings that a series does not change: hard enough that no method finds every type."""

AXES = {
    "dropout": "share of values lost (dropout)",
    "signal": "factor of fold changes (signal)",
    "imbalance": "orders of magnitude between type sizes (imbalance)",
}


def _clusterings(
    data: Labelled, args: argparse.Namespace, seed: int
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of each way, its clusters and the types of the cells that it clustered."""
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        for method, name in (("scrcl", "scRCL"), ("scgpcl", "scGPCL")):
            out = Path(folder) / method
            settings = [one for one in args.set if not _is_of_other(one, method)]
            settings.append("umap.cells=0")
            config = runs.config_of(
                settings, method=method, n_clusters=data.k, seed=seed, device="cpu"
            )
            runs.run(data.path, out, config, until="cluster")
            types = data.labels[runs.retained(out)]
            if method == "scrcl":
                yield "scrcl", runs.labels(out), types
            again = runs.cluster_again(data.path, out, n_clusters=data.k, algorithm="kmeans")
            yield f"{name}, k-means", again, types
    types = data.labels[has_counts(data.path)]
    points = components(data.path, seed=seed)
    yield "PCA, k-means", by_kmeans(points, data.k, seed=seed), types
    yield "PCA, Leiden", by_leiden(points, data.k, seed=seed), types
    if missing(["scvi"]) is None:
        points = latent(data.path, seed=seed)
        yield "scVI, k-means", by_kmeans(points, data.k, seed=seed), types


def _is_of_other(setting: str, method: str) -> bool:
    """Return whether a setting is in the group of the other method, which a run would refuse."""
    group = setting.partition(".")[0]
    return group in ("scrcl", "scgpcl") and group != method


def _rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the scores of all ways at all levels; equal cells are simulated and clustered once."""

    @cache
    def scored(seed: int, given: tuple[tuple[str, float], ...]) -> list[Row]:
        with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
            path = Path(folder) / "cells.h5ad"
            write_simulated(
                path,
                n_cells=args.cells,
                n_genes=args.genes,
                n_types=args.types,
                n_samples=1,
                seed=seed,
                **dict(given),
            )
            data = read_labelled(path)
            return [
                {"way": way, **measured(labels, types)}
                for way, labels, types in _clusterings(data, args, seed)
            ]

    for series in args.only:
        for level, seed in product(SERIES[series][:: args.every], args.seeds):
            for found in scored(seed, tuple(sorted({**USUAL, series: level}.items()))):
                yield {**stamp(), "series": series, "level": level, "seed": seed, **found}


def _means(rows: list[Row], series: str, way: str) -> tuple[list[float], list[float], list[float]]:
    """Return the levels of a series, and the mean and the deviation over seeds of a way's ARI at each."""
    own = [row for row in rows if row["series"] == series and row["way"] == way]
    levels = list(dict.fromkeys(row["level"] for row in own))
    found = [np.array([row["ari"] for row in own if row["level"] == level]) for level in levels]
    return levels, [float(one.mean()) for one in found], [float(one.std()) for one in found]


def _tables(rows: list[Row], seeds: list[int]) -> list[str]:
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [f"ARI at the true number of types, mean over seeds {seeds} ± deviation."]
    for series in dict.fromkeys(row["series"] for row in rows):
        found = {way: _means(rows, series, way) for way in ways}
        levels = found[ways[0]][0]
        body = [
            [f"{level:g}", *(f"{found[way][1][i]:.3f} ± {found[way][2][i]:.3f}" for way in ways)]
            for i, level in enumerate(levels)
        ]
        body.append(["**mean**", *(f"**{np.mean(found[way][1]):.3f}**" for way in ways)])
        lines += ["", f"### {series}", "", *table([AXES[series], *ways], body)]
    return lines


def _draw(rows: list[Row], path: Path) -> None:
    """Draw the ARI of each way against the level of each series."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    series = list(dict.fromkeys(row["series"] for row in rows))
    ways = list(dict.fromkeys(row["way"] for row in rows))
    figure, axes = plt.subplots(1, len(series), figsize=(4.2 * len(series), 3.8), squeeze=False)
    for axis, name in zip(axes[0], series, strict=True):
        for way, marker in zip(ways, "osD^v*", strict=False):
            levels, mean, deviation = _means(rows, name, way)
            axis.errorbar(
                levels, mean, deviation, marker=marker, ms=4, lw=1.3, capsize=2, label=way
            )
        axis.set(xlabel=AXES[name], ylim=(-0.02, 1.02))
        if name == "signal":
            axis.invert_xaxis()  # harder to the right, as in the others
    axes[0, 0].set_ylabel("ARI at the true number of types")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=len(ways), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Cluster every level of every series; write the table, its rows and the plot."""
    parser = parser_of("bench.accuracy.simulations", __doc__)
    add_only(parser, SERIES, "series")
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--types", type=int, default=8)
    parser.add_argument("--every", type=int, default=1, help="take every nth level of a series")
    args = parsed(parser, arguments)
    warnings.simplefilter("ignore")
    rows = logged(args.out, _rows(args))
    plot = args.out.with_suffix(".png")
    _draw(rows, plot)
    sizes = (
        f"{args.cells:,} cells of {args.types} types and {args.genes:,} genes; settings that a series does not change: "
        f"{', '.join(f'{name} {value:g}' for name, value in USUAL.items())}."
    )
    ran = [f"scrcl ran with {', '.join(args.set)}."] if args.set else []
    body = [sizes, *ran, "", f"![ARI by level]({plot.name})", "", *_tables(rows, args.seeds)]
    write_results(args, "Three simulations", body)


if __name__ == "__main__":
    main()
