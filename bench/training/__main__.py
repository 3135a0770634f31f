"""A training step: its rate at several sizes of atlas, its cost against what the machine can do, and its operators.

``python -m bench.training --runs RUN,RUN``

Runs are folders that ended after ``train`` (``scrcl run ... --until train``), of atlases of different sizes; their
stored training inputs are read. Every row is a process of its own. Sections: ``steps`` (rates, ceilings, operators),
``dense`` (a full evaluation of the objective against the N x N form, on cells drawn from the first run).
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bench._frame import runs
from bench._frame.arguments import (
    add_only,
    add_repeats,
    add_sizes,
    choices_of,
    parsed,
    parser_of,
    paths,
)
from bench._frame.page import table
from bench._frame.process import bench_command, found_by
from bench._frame.sections import Section, Sections, measure_sections
from bench.training.dense import ratio

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["main"]

VARIANTS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "uniform, bfloat16": {"precision": "bfloat16"},
    "pieces of 128": {"minibatches": "partitions", "piece_cells": 128},
    "pieces of 512": {"minibatches": "partitions", "piece_cells": 512},
}

STEPS = """\
Medians over {steps} steps. Waiting is the share of the time in which the loop waited for its mini-batch. Peak memory
is that of the process, including pages of mapped files; it is read before operators are profiled."""

CEILINGS = """\
The least operations are those of the encoders' products, forward and backward, and of the pairs. The second figure is
for encoding anchors again in the backward pass. The least bytes are those of rows of inputs: read, joined, and used
three times. The shares compare the least with the median step, at the best rate that the machine reached in the same
process: of a product of {rows:,} rows with the weights of a first layer, and of a copy."""

DENSE = """\
Forward and backward, encoders included, both forms in turn, {repeats} times. The dense form makes the same entries by
matrix products. The last column is the relative difference of the two values."""


class _Bench(NamedTuple):
    args: argparse.Namespace


def _steps(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for run in args.runs:
        for name in args.variants:
            settings = VARIANTS[name] | json.loads(args.settings)
            command = bench_command(
                "training.steps", "--run", run, "--settings", json.dumps(settings),
                "--steps", args.steps, "--rate-repeats", args.rate_repeats,
                "--device", args.device,
            )  # fmt: skip
            found.append({"variant": name, **found_by(command)})
            print(f"{run.name} {name}: {found[-1]['step_ms']:.0f} ms a step", file=sys.stderr)
    yield (
        found,
        [
            *STEPS.format(steps=args.steps).splitlines(),
            "",
            *_rates(found),
            "",
            *CEILINGS.format(rows=8_192).splitlines(),
            "",
            *_shares(found),
            "",
            *_operators(found),
        ],
    )


def _rates(found: list[dict[str, Any]]) -> list[str]:
    columns = ["cells", "mini-batches", "anchors", "pairs", "step, ms", "CPU, ms a step"]
    columns += ["making a mini-batch, ms", "waiting", "seeds/s", "anchors/s", "peak memory, GB"]
    columns += ["on the GPU, GB"]
    return table(
        columns,
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
    columns = ["cells", "mini-batches", "least, GFLOP", "encoded again, GFLOP", "least, GB"]
    columns += ["ceiling, GFLOP/s", "square, GFLOP/s", "copy, GB/s", "share of the products"]
    columns += ["with encoding again", "share of the copy"]
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
    return table(columns, rows)


def _operators(found: list[dict[str, Any]]) -> list[str]:
    """Return a table of the operators of the largest atlas, with a column for each variant."""
    largest = max(row["n_cells"] for row in found)
    rows = [row for row in found if row["n_cells"] == largest]
    names = list(dict.fromkeys(op["name"] for row in rows for op in row["operators"]))
    names.sort(key=lambda name: name == "others")
    took = [{op["name"]: op["ms"] for op in row["operators"]} for row in rows]
    columns = [f"operator, ms a step of {largest:,} cells", *(row["variant"] for row in rows)]
    return table(
        columns,
        [[f"`{n}`" if n != "others" else n, *(_ms(one, n) for one in took)] for n in names],
    )


def _ms(took: dict[str, float], name: str) -> str:
    return f"{took[name]:.1f}" if name in took else ""


def _dense(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    inputs, device = runs.training_inputs(args.runs[0]), torch.device(args.device)
    found = []
    for n_cells in (n for n in args.sizes if n <= inputs.graph.n):
        found.append(
            ratio(inputs.x, np.asarray(inputs.genes), n_cells, repeats=args.repeats, device=device)
        )
        print(f"{n_cells:,}: {found[-1]['dense_over_linear']:.1f} times", file=sys.stderr)
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
    columns = ["cells", "linear, s", "dense, s", "dense / linear", "relative difference"]
    notes = DENSE.format(repeats=args.repeats)
    yield found, [*notes.splitlines(), "", *table(columns, rows)]


SECTIONS: Sections = {
    "steps": Section("Steps", _steps),
    "dense": Section("Against the dense form", _dense),
}


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("bench.training", __doc__)
    add_only(parser, SECTIONS, "sections")
    add_sizes(parser, [2_000, 5_000, 10_000], "cells of the section dense")
    add_repeats(parser, 5, "of the section dense")
    parser.add_argument("--runs", type=paths, required=True, help="folders of runs, smallest first")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--rate-repeats", type=int, default=15, help="repeats of the machine's best rates"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--variants",
        type=choices_of(VARIANTS, "variants", ";"),
        default=list(VARIANTS),
        help="some of the variants, as a;b;c",
    )
    parser.add_argument(
        "--settings",
        default="{}",
        help="of training and of scRCL by name, as JSON, in all variants",
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the page."""
    bench = _Bench(parsed(_parser(), arguments))
    device = bench.args.device
    if device != "cpu" and not torch.cuda.is_available():
        print(f"skipped: --device must be a CUDA device that torch finds; got {device}")
        return
    libraries = ("torch", "numpy", "numba")
    print(measure_sections("Training steps", SECTIONS, bench, libraries=libraries, device=device))


if __name__ == "__main__":
    main()
