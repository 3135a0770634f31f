"""Mini-batches beside full batches: gradients, losses and clusters; and where training stops by itself.

``python -m bench.equivalence --data DIR --out bench/results/NAME.md``

Sections: ``accuracy`` (clusters and exact loss after equal steps), ``stopping`` (agreement along training, and where
the rule without labels stops), ``curves`` (the exact loss along training), ``gradients`` (beside the full gradient),
``copies`` (one atlas at several sizes). The number of classes is given. A section that was measured before stays in
the report until it is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.equivalence_copies import copies, copies_table
from bench.equivalence_curves import curves, curves_table
from bench.equivalence_gradient import gradients, gradients_table
from bench.equivalence_runs import (
    EVERY_CELL,
    Labelled,
    accuracy,
    accuracy_table,
    labelled,
    stopping,
    stopping_table,
)
from bench.process import commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["main"]

SAID = "## What it says"

ACCURACY = """\
Mean ± deviation over seeds {seeds}, after {steps} steps. Batches are uniform, of {batch:,} cells, or of half of a set
where it has fewer than two of them; a column is where their means over all cells come from."""

STOPPING = """\
Training on to {steps} steps, scored every ten from step {first} on; means over seeds {seeds}. The rule sees no
labels; the best step is what labels would have chosen, for comparison only."""

CURVES = """\
The exact loss over all cells along training, the mean over sets; then how far above it mini-batches are, mean ±
deviation over sets and seeds {seeds}. Batches are uniform, of {batch:,} cells, or of half of a set where it has fewer
than two of them."""

GRADIENTS = """\
Cosine of a batch's gradient to that of all cells, mean ± deviation over batches; then the length of what the mean of
all gradients of three epochs misses of it, as a share of its length. Means over sets. The weights are those after so
many full-batch steps and stand still, so running means do not lag."""

COPIES = """\
Cells drawn by the types of {source}, batches of {batch:,}, {steps} steps, seeds {seeds}. Losses are exact, over all
cells."""


class _Bench:
    """Sets that sections share are prepared once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.set = cache(labelled)

    def sets(self) -> Iterator[Labelled]:
        """Yield the sets asked for."""
        for path in sorted(self.args.data.glob("*.h5ad")):
            if any(name in path.stem for name in self.args.sets.split(",")):
                yield self.set(path)


def _accuracy(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for seed in args.seeds:
        for data in bench.sets():
            found += accuracy(
                data, seed, batch_cells=args.batch, steps=args.steps, modes=args.negatives
            )
        done = sorted({row["seed"] for row in found})
        said = ACCURACY.format(seeds=done, steps=args.steps, batch=args.batch).splitlines()
        yield found, [*said, *accuracy_table(found)]


def _stopping(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for seed in args.stop_seeds:
        for data in bench.sets():
            found += stopping(
                data,
                seed,
                batch_cells=[EVERY_CELL, args.batch],
                first=args.first,
                steps=args.long_steps,
            )
        done = sorted({row["seed"] for row in found})
        said = STOPPING.format(seeds=done, steps=args.long_steps, first=args.first)
        yield found, [*said.splitlines(), "", *stopping_table(found, args.steps)]


def _curves(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for seed in args.curve_seeds:
        for data in bench.sets():
            found += curves(
                data,
                seed,
                batch_cells=args.batch,
                steps=args.steps,
                every=args.curve_every,
                modes=args.negatives,
            )
    said = CURVES.format(seeds=args.curve_seeds, batch=args.batch).splitlines()
    yield found, [*said, "", *curves_table(found)]


def _gradients(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    found = [
        row
        for data in bench.sets()
        for row in gradients(
            data,
            batch_sizes=args.batch_sizes,
            pieces=args.pieces,
            points=args.points,
            modes=["moments", "sampled", "batch"],
        )
    ]
    yield found, [*GRADIENTS.splitlines(), "", *gradients_table(found)]


def _copies(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    source = next(path for path in sorted(args.data.glob("*.h5ad")) if args.copies_of in path.stem)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        found = copies(
            source,
            cells=args.copies_cells,
            sizes=args.copies,
            batch_cells=args.copies_batch,
            steps=args.steps,
            seeds=args.copies_seeds,
            work=Path(folder),
        )
    said = COPIES.format(
        source=source.stem, batch=args.copies_batch, steps=args.steps, seeds=args.copies_seeds
    )
    yield found, [*said.splitlines(), "", *copies_table(found)]


SECTIONS: dict[str, tuple[str, Callable[[_Bench], Iterator[tuple[Any, list[str]]]]]] = {
    "accuracy": ("Clusters after equal steps", _accuracy),
    "stopping": ("Where training stops by itself", _stopping),
    "curves": ("Losses along training", _curves),
    "gradients": ("Gradients beside the full gradient", _gradients),
    "copies": ("One atlas at several sizes", _copies),
}


def _write(args: argparse.Namespace, sections: dict[str, Any]) -> str:
    lines = ["# Mini-batches beside full batches, and where training stops by itself"]
    for name in (name for name in SECTIONS if name in sections):
        section = sections[name]
        lines += ["", f"## {SECTIONS[name][0]}", "", f"`{section['command']}`", ""]
        lines += [section["where"], "", *section["table"]]
    text = "\n".join([*lines, "", *_said(args.out)])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    args.out.with_suffix(".json").write_text(json.dumps(sections), encoding="utf-8")
    return text


def _said(path: Path) -> list[str]:
    """Return the lines that somebody wrote under the last heading of the report, with it."""
    if not path.is_file():
        return []
    _, heading, rest = path.read_text(encoding="utf-8").partition(f"{SAID}\n")
    return [heading + rest] if heading else []


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _words(text: str) -> list[str]:
    return text.split(",")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument(
        "--out", type=Path, required=True, help="Markdown to write, .json beside it"
    )
    parser.add_argument("--only", type=_words, default=list(SECTIONS), help="sections")
    parser.add_argument("--sets", default="", help="name parts of the sets")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2, 3, 4], help="of accuracy")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1_024, help="of accuracy and stopping")
    parser.add_argument("--negatives", type=_words, default=["moments", "sampled"])
    parser.add_argument("--curve-seeds", type=_numbers, default=[0])
    parser.add_argument("--curve-every", type=int, default=10, help="steps between exact losses")
    parser.add_argument("--stop-seeds", type=_numbers, default=[0, 1, 2])
    parser.add_argument("--long-steps", type=int, default=200, help="of stopping")
    parser.add_argument("--first", type=int, default=50, help="step from which stopping scores")
    parser.add_argument("--batch-sizes", type=_numbers, default=[256, 512, 1_024, 2_048, 4_096])
    parser.add_argument("--pieces", type=_numbers, default=[8, 32, 128], help="of gradients")
    parser.add_argument(
        "--points", type=_numbers, default=[0, 10, 50], help="steps before gradients"
    )
    parser.add_argument("--copies-of", default="pbmc4k", help="name part of the set")
    parser.add_argument("--copies-cells", type=int, default=4_096)
    parser.add_argument("--copies", type=_numbers, default=[1, 4, 16])
    parser.add_argument("--copies-batch", type=int, default=4_096)
    parser.add_argument("--copies-seeds", type=_numbers, default=[0])
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the sections asked for; the report is written whenever a seed of one is done."""
    parser = _parser()
    args = parser.parse_args(arguments)
    told = sys.argv[1:] if arguments is None else arguments
    unknown = sorted(set(args.only) - set(SECTIONS))
    if unknown:
        parser.error(f"--only must name sections; got {unknown[0]!r}. There are: {list(SECTIONS)}")
    record = args.out.with_suffix(".json")
    sections = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    bench, text = _Bench(args), ""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    for name in (name for name in SECTIONS if name in args.only):
        for found, table in SECTIONS[name][1](bench):
            sections[name] = {
                "command": f"python -m bench.equivalence {' '.join(told)}",
                "where": f"{time.strftime('%Y-%m-%d')}, commit {commit()}; {machine}.",
                "found": found,
                "table": table,
            }
            text = _write(args, sections)
    print(text)


if __name__ == "__main__":
    main()
