"""Tissues of many bins on a square grid: time and memory of whole runs, stage by stage.

``python -m bench.spatial.bins --sizes 125000,250000,500000 --memory 3GB``

Bins are simulated, as Visium HD or Stereo-seq have them: a square grid with domains, and a few counts in each bin. A
domain has its own mix of types. Every run is a process of its own. CPU seconds are counted around each stage
(`bench._frame.stage_times`), and the peak of the process by the kernel, from outside.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_settings, add_sizes, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS
from bench._frame.page import table, write_results
from bench._frame.process import bench_command, timed
from bench._frame.rows import logged

if TYPE_CHECKING:
    import argparse

    from bench._frame.rows import Row

__all__ = ["main", "write_bins"]

N_DOMAINS, N_TYPES = 8, 12
_PATCHES = 4
_OWN_SHARE = 0.5
_BLOCK_ROWS = 20_000


def write_bins(out: Path, n_bins: int, *, n_genes: int, counts: int, seed: int = 0) -> None:
    """Write an ``.h5ad`` of bins: counts, ``obs["cell_type"]`` (the domain) and ``obsm["spatial"]``."""
    import anndata
    import pandas as pd
    from scipy import sparse
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n_bins)))
    grid = np.column_stack(np.divmod(np.arange(side * side), side))[:n_bins].astype(np.float32)
    sites = rng.random((N_DOMAINS * _PATCHES, 2)) * side
    domains = cKDTree(sites).query(grid)[1] % N_DOMAINS
    base = rng.lognormal(0, 1.5, n_genes)
    differs = rng.random((N_TYPES, n_genes)) < 0.1
    profiles = base * np.exp(differs * rng.normal(0, 1.5, (N_TYPES, n_genes)))
    ends = np.cumsum(profiles / profiles.sum(axis=1, keepdims=True), axis=1)
    mixes = rng.dirichlet(np.ones(N_TYPES), N_DOMAINS) * (1 - _OWN_SHARE)
    mixes[np.arange(N_DOMAINS), np.arange(N_DOMAINS)] += _OWN_SHARE
    blocks = []
    for start in range(0, n_bins, _BLOCK_ROWS):
        own = domains[start : start + _BLOCK_ROWS]
        uniform = rng.random(len(own))[:, None]
        types = (uniform > np.cumsum(mixes, axis=1)[own]).sum(axis=1).clip(max=N_TYPES - 1)
        totals = rng.poisson(counts * rng.lognormal(0, 0.4, len(own)))
        rows, of_count = np.repeat(np.arange(len(own)), totals), np.repeat(types, totals)
        genes, drawn = np.empty(len(rows), np.int32), rng.random(len(rows))
        for kind in range(N_TYPES):
            some = of_count == kind
            genes[some] = np.searchsorted(ends[kind], drawn[some]).clip(max=n_genes - 1)
        ones = np.ones(len(rows), np.float32)
        blocks.append(sparse.coo_matrix((ones, (rows, genes)), (len(own), n_genes)).tocsr())
    anndata.AnnData(
        sparse.vstack(blocks, format="csr"),
        obs=pd.DataFrame(
            {LABELS: pd.Categorical([f"domain {domain}" for domain in domains])},
            index=[f"bin{i}" for i in range(n_bins)],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
        obsm={"spatial": grid},
    ).write_h5ad(out)


def _run_at(n_bins: int, args: argparse.Namespace) -> Row:
    """Write a tissue, run it, and return what its stages took and how well domains agree."""
    from scrcl.engine.evaluate import evaluate

    with tempfile.TemporaryDirectory(prefix="scrcl-bins-") as folder:
        file, out, found = (Path(folder) / name for name in ("bins.h5ad", "out", "found.json"))
        # In a process of its own: memory of the drawing must not count.
        command = bench_command(
            "spatial.bins", "--write", file, "--sizes", n_bins, "--genes", args.genes,
            "--counts", args.counts,
        )  # fmt: skip
        subprocess.run(command, check=True)
        command = bench_command(
            "_frame.stage_times", file, "-o", out, "--memory", args.memory, "--spatial",
            "--until", args.until, "--found", found,
        )  # fmt: skip
        _, peak = timed([*command, *(part for one in args.set for part in ("--set", one))])
        stages = json.loads(found.read_text(encoding="utf-8"))
        whole = args.until == "report"
        return {
            "n_cells": n_bins,
            "peak_rss_bytes": max(peak, *(stage["peak_rss_bytes"] for stage in stages)),
            "input_bytes": file.stat().st_size,
            "out_bytes": sum(p.stat().st_size for p in out.rglob("*") if p.is_file()),
            "ari": evaluate(out, LABELS).ari if whole else None,
            "n_clusters": runs.manifest(out).get("n_clusters"),
            "stages": stages,
        }


def _table(rows: list[Row]) -> list[str]:
    lines = []
    for i, stage in enumerate(rows[0]["stages"]):
        took = [row["stages"][i] for row in rows]
        if max(one["cpu_seconds"] for one in took) < 0.5:
            continue
        cells = [f"{one['cpu_seconds']:.1f}, {one['peak_rss_bytes'] / 1e6:.0f}" for one in took]
        lines.append([stage["name"], *cells, _growth([one["cpu_seconds"] for one in took], rows)])
    totals = [sum(stage["cpu_seconds"] for stage in row["stages"]) for row in rows]
    cells = [
        f"{total:.0f}, **{row['peak_rss_bytes'] / 1e6:.0f}**"
        for total, row in zip(totals, rows, strict=True)
    ]
    lines.append(["**whole**", *cells, _growth(totals, rows)])
    more = [
        f"{row['input_bytes'] / 1e6:.0f} MB in, {row['out_bytes'] / 1e6:.0f} MB out"
        + ("" if row["ari"] is None else f", ARI {row['ari']:.3f} ({row['n_clusters']} domains)")
        for row in rows
    ]
    lines.append(["files, agreement", *more, ""])
    columns = ["stage", *(f"{row['n_cells']:,} bins: CPU s, MB" for row in rows)]
    return table([*columns, "power of the size"], lines)


def _growth(seconds: list[float], rows: list[Row]) -> str:
    """Return the power of the number of bins that seconds grow with, from the smallest to the largest."""
    if len(rows) < 2 or min(seconds) <= 0:
        return ""
    sizes = [row["n_cells"] for row in rows]
    return f"{np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0]):.2f}"


def main(arguments: list[str] | None = None) -> None:
    """Run all sizes and write the table."""
    parser = parser_of("bench.spatial.bins", __doc__)
    add_sizes(parser, [125_000, 250_000, 500_000], "numbers of bins")
    add_settings(parser)
    parser.add_argument("--memory", default="3GB")
    parser.add_argument("--genes", type=int, default=10_000)
    parser.add_argument("--counts", type=int, default=150, help="mean counts of a bin")
    parser.add_argument("--until", default="report", help="last stage")
    parser.add_argument("--write", type=Path, help="only write a tissue of the first size")
    args = parsed(parser, arguments)
    if args.write is not None:
        write_bins(args.write, args.sizes[0], n_genes=args.genes, counts=args.counts)
        return
    rows = logged(args.out, ({**stamp(), **_run_at(size, args)} for size in args.sizes))
    note = (
        f"{args.genes:,} genes, about {args.counts} counts in a bin. CPU seconds of all threads, and peak resident MB "
        "(10^6 bytes), of each stage that took half a second at the largest size. A power of 1 is linear time."
    )
    title = f"Bins of a tissue with --memory {args.memory}"
    write_results(args, title, [note, "", *_table(rows)])


if __name__ == "__main__":
    main()
