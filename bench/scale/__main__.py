"""Time and memory of whole runs on resampled cells, stage by stage.

``python -m bench.scale --from cells.h5ad --cells 50000,200000 --memory 2GB --out bench/results/NAME.md``

An atlas of any size is made from a real labelled set: cells drawn with replacement, each count drawn anew from
a Poisson law around itself. Every run is a process of its own; its peak is the kernel's, from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench._frame.process import commit, timed

__all__ = ["resample", "run_at"]


def resample(source: Path, out: Path, n_cells: int, *, seed: int = 0) -> None:
    """Write an ``.h5ad`` of ``n_cells`` cells drawn from ``source``."""
    import anndata
    from scipy import sparse

    rng = np.random.default_rng(seed)
    adata = anndata.read_h5ad(source)
    rows = rng.integers(adata.n_obs, size=n_cells)
    counts = sparse.csr_matrix(adata.X)[rows]
    counts.data = rng.poisson(counts.data).astype(np.float32)
    counts.eliminate_zeros()
    obs = adata.obs.iloc[rows].copy()
    obs.index = [f"cell{i}" for i in range(n_cells)]
    anndata.AnnData(counts, obs=obs, var=adata.var[[]]).write_h5ad(out)


def run_at(
    source: Path, n_cells: int, memory: str, settings: list[str], *, until: str = "report"
) -> dict[str, Any]:
    """Resample, run, and return what ``run.json`` says, with the peak seen from outside.

    The agreement with labels is there where the run goes to its last stage.
    """
    from scrcl.engine.evaluate import evaluate_run

    with tempfile.TemporaryDirectory(prefix="scrcl-scale-") as folder:
        cells, out = Path(folder) / "cells.h5ad", Path(folder) / "out"
        subprocess.run(
            [sys.executable, "-m", "bench.scale", "--resample", str(cells), "--from", str(source),
             "--cells", str(n_cells)], check=True,
        )  # fmt: skip
        command = [sys.executable, "-m", "scrcl", "run", str(cells), "-o", str(out), "--quiet",
                   "--memory", memory, "--n-clusters", "10", "--until", until]  # fmt: skip
        for setting in settings:
            command += ["--set", setting]
        seconds, peak = timed(command)
        manifest: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
        disk = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        ari = evaluate_run(out, "cell_type")["ari"] if until == "report" else None
        return {
            "n_cells": n_cells,
            "seconds": seconds,
            "peak_rss_bytes": max(peak, manifest["peak_rss_bytes"]),
            "input_bytes": cells.stat().st_size,
            "out_bytes": disk,
            "ari": ari,
            "stages": manifest["stages"],
            "graph_recall": manifest["graph_recall"],
        }


def _table(runs: list[dict[str, Any]]) -> str:
    head = "| stage | " + " | ".join(f"{run['n_cells']:,} cells: s, MB" for run in runs) + " |"
    lines = [head, "|---" * (1 + len(runs)) + "|"]
    for i, stage in enumerate(runs[0]["stages"]):
        cells = [
            f"{run['stages'][i]['seconds']:.1f}, {run['stages'][i]['peak_rss_bytes'] / 1e6:.0f}"
            for run in runs
        ]
        lines.append(f"| {stage['name']} | " + " | ".join(cells) + " |")
    total = [f"{run['seconds']:.0f}, **{run['peak_rss_bytes'] / 1e6:.0f}**" for run in runs]
    lines.append("| **whole process** | " + " | ".join(total) + " |")
    more = [
        f"{run['input_bytes'] / 1e6:.0f} MB in, {run['out_bytes'] / 1e6:.0f} MB out, "
        f"recall {run['graph_recall']:.3f}"
        + ("" if run["ari"] is None else f", ARI {run['ari']:.3f}")
        for run in runs
    ]
    return "\n".join([*lines, "| files, graph, agreement | " + " | ".join(more) + " |"])


def _conditions() -> str:
    return (
        f"Commit {commit()}; {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}. Seconds and peak resident MB (10^6 bytes) a stage, as in "
        "`run.json`; of the whole process seconds from outside, and the largest peak seen."
    )


def main(arguments: list[str] | None = None) -> None:
    """Run all sizes and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="labelled .h5ad")
    parser.add_argument("--cells", default="50000,200000")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--until", default="report", help="last stage")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    parser.add_argument("--resample", type=Path, help="only write the resampled cells here")
    args = parser.parse_args(arguments)
    sizes = [int(size) for size in args.cells.split(",")]
    if args.resample is not None:
        resample(args.source, args.resample, sizes[0])
        return
    runs = [run_at(args.source, size, args.memory, args.set, until=args.until) for size in sizes]
    text = "\n".join(
        [
            f"# Whole runs under --memory {args.memory}, {time.strftime('%Y-%m-%d')}",
            "",
            f"`python -m bench.scale {' '.join(sys.argv[1:])}`",
            "",
            _conditions(),
            "",
            _table(runs),
            "",
        ]
    )
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")
        args.out.with_suffix(".json").write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
