"""What each part of the default configuration brings: variations of it, one at a time, on labelled sets.

``python -m bench.ablation --data DIR --out bench/results/NAME.md --seeds 0,1,2 --only losses,encoders``

The number of classes is given; nothing else of the labels is seen before the scores are taken, from the final state.
Groups of variations are chosen by ``--only``; the default is always run beside them. The report is written after
each set. Rows of earlier runs may be taken over by ``--cases``; what is in them is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from bench.ablation_runs import runs
from bench.ablation_tables import tables
from bench.ablation_variations import GROUPS, variations
from bench.process import read_rows

__all__ = ["main"]

SAID = """\
Means over seeds, at the true K. What training reads is made once, with seed 0: seeds differ in weights, batches
and final clusters. `two MLPs`: the graph view's encoder sees each cell alone, the losses keep their graph. `two GCNs`:
the first view's input is propagated over the graph, which is a GCN of one layer, or one of two layers with nothing
between them. `Z`: clusters of the refined embedding. Labels of tissues are not refined by the spots around. Rows of
all runs: the `.jsonl` file beside this one."""


def _report(rows: list[dict[str, Any]], told: list[str]) -> str:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [
        f"# Ablation, {time.strftime('%Y-%m-%d')}",
        "",
        f"`python -m bench.ablation {' '.join(told)}`",
        "",
    ]
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    lines += [f"Commit {commits}; {machine}.", *SAID.splitlines()]
    return "\n".join([*lines, *tables(rows), ""])


def _taken_over(paths: list[Path]) -> list[dict[str, Any]]:
    """Return the rows of earlier runs, each once, in the order of the variations."""
    order = {one.name: number for number, one in enumerate(variations(list(GROUPS)))}
    rows = {}
    for path in paths:
        for row in read_rows(path):
            if row["variation"] not in order:
                message = f"cases must be of this version; {path} has the variation {row['variation']!r}. Run it again."
                raise SystemExit(message)
            rows[row["dataset"], row["seed"], row["variation"]] = row
    return sorted(rows.values(), key=lambda row: order[row["variation"]])


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups of variations")
    parser.add_argument("--sets", default="", help="parts of the names of the sets to run")
    parser.add_argument("--cases", action="append", default=[], type=Path, help="rows to take over")
    args = parser.parse_args(arguments)
    args.only, args.seeds = args.only.split(","), [int(seed) for seed in args.seeds.split(",")]
    unknown = sorted(set(args.only) - set(GROUPS))
    if unknown:
        parser.error(f"--only must name groups; got {unknown[0]!r}. There are: {', '.join(GROUPS)}")
    args.paths = [
        path
        for path in sorted(args.data.glob("*.h5ad"))
        if any(part in path.stem for part in args.sets.split(","))
    ]
    if not args.paths:
        parser.error(f"--data must hold .h5ad files named as --sets; got {args.data}.")
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run all variations and write the tables and their rows."""
    args = _arguments(arguments)
    told = sys.argv[1:] if arguments is None else arguments
    chosen, rows = variations(args.only), _taken_over(args.cases)
    done = {(row["dataset"], row["seed"], row["variation"]) for row in rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.with_suffix(".jsonl").open("w", encoding="utf-8") as log:
        log.writelines(f"{json.dumps(row)}\n" for row in rows)
        for path in args.paths:
            for row in runs(path, chosen, args.seeds, done):
                rows.append(row)
                log.write(f"{json.dumps(row)}\n")
                log.flush()
                print(f"{row['dataset']} {row['seed']} {row['variation']}: ARI {row['ari']:.3f}")
            args.out.write_text(_report(rows, told), encoding="utf-8")
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
