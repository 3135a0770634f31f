"""Time and memory of whole runs at several sizes, stage by stage.

``python -m bench.scale --from cells.h5ad --sizes 50000,200000 --memory 2GB``

An atlas of each size is made from a real labelled set (`bench.scale.atlas`). Every run is a process of its own. Its
peak is counted by the kernel, from outside.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._frame import runs
from bench._frame.arguments import add_settings, add_sizes, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS
from bench._frame.page import table, write_results
from bench._frame.process import bench_command, scrcl_command, timed
from bench._frame.rows import Row, logged

if TYPE_CHECKING:
    import argparse

__all__ = ["main"]

NOTES = """\
Seconds and peak resident MB (10^6 bytes) of each stage are those of `run.json`. Those of the whole process are measured
from outside; the largest peak counts."""


def _run_at(source: Path, n_cells: int, memory: str, settings: list[str], *, until: str) -> Row:
    """Draw an atlas, run it, and return the records of its stages and the peak of the process.

    The agreement with labels is there only for runs to the last stage.
    """
    from scrcl.engine.evaluate import evaluate

    with tempfile.TemporaryDirectory(prefix="scrcl-scale-") as folder:
        cells, out = Path(folder) / "cells.h5ad", Path(folder) / "out"
        # In a process of its own: memory of the drawing must not count.
        command = bench_command("scale.atlas", "--from", source, "--cells", n_cells, "--out", cells)
        subprocess.run(command, check=True)
        command = scrcl_command(
            "run", cells, "-o", out, "--quiet", "--memory", memory, "--n-clusters", 10,
            "--until", until,
        )  # fmt: skip
        seconds, peak = timed([*command, *(part for one in settings for part in ("--set", one))])
        manifest = runs.manifest(out)
        return {
            "n_cells": n_cells,
            "seconds": seconds,
            "peak_rss_bytes": max(peak, manifest["peak_rss_bytes"]),
            "input_bytes": cells.stat().st_size,
            "out_bytes": sum(p.stat().st_size for p in out.rglob("*") if p.is_file()),
            "ari": evaluate(out, LABELS).ari if until == "report" else None,
            "stages": manifest["stages"],
            "graph_recall": manifest["graph_recall"],
        }


def _table(rows: list[Row]) -> list[str]:
    lines: list[list[Any]] = []
    for i, stage in enumerate(rows[0]["stages"]):
        took = [row["stages"][i] for row in rows]
        cells = [f"{one['seconds']:.1f}, {one['peak_rss_bytes'] / 1e6:.0f}" for one in took]
        lines.append([stage["name"], *cells])
    whole = [f"{row['seconds']:.0f}, **{row['peak_rss_bytes'] / 1e6:.0f}**" for row in rows]
    lines.append(["**whole process**", *whole])
    more = [
        f"{row['input_bytes'] / 1e6:.0f} MB in, {row['out_bytes'] / 1e6:.0f} MB out, "
        f"recall {row['graph_recall']:.3f}"
        + ("" if row["ari"] is None else f", ARI {row['ari']:.3f}")
        for row in rows
    ]
    lines.append(["files, graph, agreement", *more])
    return table(["stage", *(f"{row['n_cells']:,} cells: s, MB" for row in rows)], lines)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of("bench.scale", __doc__)
    add_sizes(parser, [50_000, 200_000], "numbers of cells")
    add_settings(parser)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="labelled .h5ad")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--until", default="report", help="last stage")
    return parsed(parser, arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run all sizes and write the table."""
    args = _arguments(arguments)
    found = (
        {**stamp(), **_run_at(args.source, size, args.memory, args.set, until=args.until)}
        for size in args.sizes
    )
    rows = logged(args.out, found)
    title = f"Whole runs with --memory {args.memory}"
    body = [*NOTES.splitlines(), "", *_table(rows)]
    print(write_results(args, title, body))


if __name__ == "__main__":
    main()
