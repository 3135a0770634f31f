"""A training step: its rate at several sizes of atlas, what it takes against what the machine could do, and by what.

``python -m bench.train --runs RUN,RUN --out bench/results/NAME.md``

Runs are folders that ended after ``train`` (``scrcl run ... --until train``), of atlases of different sizes; their
stored views are read. Every row is a process of its own. Sections: ``steps`` (rates, ceilings, operators), ``dense``
(a full evaluation of the objective against the N x N form, on cells drawn from the first run).
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.process import commit
from bench.train_dense import ratio
from bench.train_steps import stored_inputs

__all__ = ["main"]

VARIANTS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "uniform, bfloat16": {"precision": "bfloat16"},
    "pieces of 128": {"batches": "partitions", "piece_cells": 128},
    "pieces of 512": {"batches": "partitions", "piece_cells": 512},
}

STEPS = """\
Medians of {steps} steps. Waiting is the share of the time in which the loop waited for its batch. Peak memory is of the
process, with the pages of files that it mapped; it is taken before operators are looked at.""".splitlines()

CEILINGS = """\
The least operations are those of the encoders' products, forward and backward, and of the pairs; encoding anchors
again in the backward pass adds the second figure. The least bytes are those of rows of inputs: read, joined, and used
three times. The share achieved is the least over the time of the median step, of the best rate that the machine showed
in the same process: of a product of {rows:,} rows by a first layer's weights, and of a copy.""".splitlines()

DENSE = """\
Forward and backward, encoders among it, both forms in turn, {repeats} times. The dense form makes the same entries by
matrix products; the last column is how far apart the two values are.""".splitlines()


def _child(run: Path, settings: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, "-m", "bench.train_steps", "--run", str(run), "--found", str(out),
                   "--settings", json.dumps(settings), "--steps", str(args.steps),
                   "--device", args.device]  # fmt: skip
        subprocess.run(command, check=True)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _steps(args: argparse.Namespace) -> tuple[Any, list[str]]:
    found = []
    for run in args.runs:
        for name in args.variants:
            settings = VARIANTS[name] | json.loads(args.settings)
            found.append({"variant": name, **_child(run, settings, args)})
            print(f"{run.name} {name}: {found[-1]['step_ms']:.0f} ms a step", file=sys.stderr)
    return found, [
        *[line.format(steps=args.steps) for line in STEPS],
        "",
        *_rates(found),
        "",
        *[line.format(rows=8_192) for line in CEILINGS],
        "",
        *_shares(found),
        "",
        *_operators(found),
    ]


def _rates(found: list[dict[str, Any]]) -> list[str]:
    head = [
        "cells",
        "batches",
        "anchors",
        "pairs",
        "step, ms",
        "CPU, ms a step",
        "making a batch, ms",
    ]
    head += ["waiting", "seeds/s", "anchors/s", "peak memory, GB", "on the GPU, GB"]
    return _table(
        head,
        [
            [
                f"{row['n_cells']:,}",
                row["variant"],
                f"{row['anchors']:,}",
                f"{row['pairs']:,}",
                f"{row['step_ms']:.1f}",
                f"{row['cpu_ms']:.1f}",
                f"{row['batch_ms']:.1f}",
                f"{row['waiting']:.1%}",
                f"{row['seeds_per_s']:,.0f}",
                f"{row['anchors_per_s']:,.0f}",
                f"{row['peak_rss_bytes'] / 1e9:.2f}",
                f"{row['peak_device_bytes'] / 1e9:.2f}" if row["peak_device_bytes"] else "",
            ]
            for row in found
        ],
    )


def _shares(found: list[dict[str, Any]]) -> list[str]:
    head = ["cells", "batches", "least, GFLOP", "again, GFLOP", "least, GB", "ceiling, GFLOP/s"]
    head += [
        "square, GFLOP/s",
        "copy, GB/s",
        "of the products",
        "of them with again",
        "of the copy",
    ]
    rows = []
    for row in found:
        best = row["ceilings"]
        precision = row["settings"].get("precision", "float32")
        ceiling, seconds = best[f"block_{precision}_gflops"], row["step_ms"] / 1e3
        least, again = row["flops"]["least"] / 1e9, row["flops"]["again"] / 1e9
        rows.append(
            [
                f"{row['n_cells']:,}",
                row["variant"],
                f"{least:.1f}",
                f"{again:.1f}",
                f"{row['bytes'] / 1e9:.2f}",
                f"{ceiling:,.0f}",
                f"{best[f'square_{precision}_gflops']:,.0f}",
                f"{best['copy_gbytes']:.1f}",
                f"{least / seconds / ceiling:.1%}",
                f"{(least + again) / seconds / ceiling:.1%}",
                f"{row['bytes'] / 1e9 / seconds / best['copy_gbytes']:.1%}",
            ]
        )
    return _table(head, rows)


def _operators(found: list[dict[str, Any]]) -> list[str]:
    """Return a table of operators of the largest atlas, a column a variant."""
    largest = max(row["n_cells"] for row in found)
    rows = [row for row in found if row["n_cells"] == largest]
    names = list(dict.fromkeys(op["name"] for row in rows for op in row["operators"]))
    names.sort(key=lambda name: name == "others")
    took = [{op["name"]: op["ms"] for op in row["operators"]} for row in rows]
    head = [f"operator, ms a step of {largest:,} cells", *(row["variant"] for row in rows)]
    body = [[f"`{n}`" if n != "others" else n, *(_ms(one, n) for one in took)] for n in names]
    return _table(head, body)


def _ms(took: dict[str, float], name: str) -> str:
    return f"{took[name]:.1f}" if name in took else ""


def _dense(args: argparse.Namespace) -> tuple[Any, list[str]]:
    inputs, device = stored_inputs(args.runs[0]), torch.device(args.device)
    found = []
    for n_cells in (n for n in args.sizes if n <= inputs.graph.n):
        found.append(
            ratio(inputs.x, np.asarray(inputs.genes), n_cells, repeats=args.repeats, device=device)
        )
        print(f"{n_cells:,}: {found[-1]['dense_over_linear']:.1f} times", file=sys.stderr)
    head = ["cells", "linear, s", "dense, s", "dense / linear", "relative difference"]
    rows = [
        [
            f"{row['n_cells']:,}",
            f"{row['linear_s']:.3f}",
            f"{row['dense_s']:.3f}",
            f"{row['dense_over_linear']:.1f}",
            f"{row['relative_difference']:.1e}",
        ]
        for row in found
    ]
    return found, [
        *[line.format(repeats=args.repeats) for line in DENSE],
        "",
        *_table(head, rows),
    ]


SECTIONS = {"steps": ("Steps", _steps), "dense": ("Against the dense form", _dense)}


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _conditions(args: argparse.Namespace) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    device = torch.cuda.get_device_name(args.device) if args.device != "cpu" else "CPU"
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {commit()}; {device}; {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {libraries}; load {os.getloadavg()[0]:.1f} at the end."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=_paths, required=True, help="folders of runs, smallest first"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--variants", type=_variants, default=list(VARIANTS), help="a;b;c")
    parser.add_argument("--settings", default="{}", help="of training, as JSON, in all variants")
    parser.add_argument("--sizes", type=_numbers, default=[2_000, 5_000, 10_000])
    parser.add_argument("--repeats", type=int, default=5, help="of the dense comparison")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections")
    parser.add_argument("--note", type=Path, help="Markdown to append, such as figures of before")
    parser.add_argument("--out", type=Path, help="Markdown file to write, with a .json beside it")
    return parser


def _paths(text: str) -> list[Path]:
    return [Path(part) for part in text.split(",")]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _variants(text: str) -> list[str]:
    names = [name.strip() for name in text.split(";")]
    unknown = sorted(set(names) - set(VARIANTS))
    if unknown:
        message = f"no variant {unknown[0]!r}; there are: {list(VARIANTS)}"
        raise argparse.ArgumentTypeError(message)
    return names


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the report."""
    parser = _parser()
    args = parser.parse_args(arguments)
    told = sys.argv[1:] if arguments is None else arguments
    asked = args.only.split(",")
    unknown = sorted(set(asked) - set(SECTIONS))
    if unknown:
        parser.error(f"--only must name sections; got {unknown[0]!r}. There are: {list(SECTIONS)}")
    if args.device != "cpu" and not torch.cuda.is_available():
        print(f"skipped: torch sees no CUDA device, and {args.device} was asked for")
        return
    record, body = {}, []
    for name in (name for name in SECTIONS if name in asked):
        record[name], lines = SECTIONS[name][1](args)
        body += ["", f"## {SECTIONS[name][0]}", "", *lines]
    head = [
        "# Training steps",
        "",
        f"`python -m bench.train {' '.join(told)}`",
        "",
        _conditions(args),
    ]
    note = [] if args.note is None else ["", args.note.read_text(encoding="utf-8").rstrip()]
    text = "\n".join([*head, *body, *note, ""])
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
