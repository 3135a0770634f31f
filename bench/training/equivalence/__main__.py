"""Mini-batches against full batches: gradients, losses and clusters; and the stopping rule.

``python -m bench.training.equivalence --data DIR``

Sections: ``accuracy`` (clusters and exact loss after equal steps), ``stopping`` (agreement during training, and the
step at which the rule without labels stops), ``curves`` (the exact loss during training), ``gradients`` (against the
full gradient), ``copies`` (one atlas at several sizes). The number of classes is given.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._frame.arguments import (
    add_data,
    add_only,
    add_seeds,
    numbers,
    parsed,
    parser_of,
    words,
)
from bench._frame.labelled import labelled_files
from bench._frame.sections import Section, Sections, measure_sections
from bench.training.equivalence.clusters import accuracy, accuracy_table
from bench.training.equivalence.copies import Atlas, copies, copies_table
from bench.training.equivalence.curves import curves, curves_table
from bench.training.equivalence.gradients import gradients, gradients_table
from bench.training.equivalence.runs import EVERY_CELL, TrainingSet, training_set
from bench.training.equivalence.stopping import stopping, stopping_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["main"]

ACCURACY = """\
Mean ± standard deviation over seeds {seeds}, after {steps} steps. Mini-batches are uniform, of {batch:,} cells, or of
half of a set with fewer than two of them. A column is the source of their means over all cells."""

STOPPING = """\
Training continues to {steps} steps, and is scored every ten from step {first} on; means over seeds {seeds}. The rule
uses no labels. The best step is the choice of the labels, for comparison only."""

CURVES = """\
The exact loss over all cells during training, as a mean over sets; then how far above it mini-batches are, mean ±
standard deviation over sets and seeds {seeds}. Mini-batches are uniform, of {batch:,} cells, or of half of a set with
fewer than two of them."""

GRADIENTS = """\
Cosine of a mini-batch's gradient with that of all cells, mean ± standard deviation over mini-batches. Then the length
of the difference between the full gradient and the mean of all gradients of three epochs, as a share of the length of
the full one. Means over sets. The weights are fixed after so many full-batch steps, so running means do not lag."""

COPIES = """\
Cells drawn by the types of {source}, mini-batches of {batch:,}, {steps} steps, seeds {seeds}. Losses are exact, over
all cells."""


class _Bench:
    """Sets that sections share are prepared once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._set = cache(training_set)

    def sets(self) -> Iterator[TrainingSet]:
        """Yield the sets asked for."""
        for path in labelled_files(self.args.data, self.args.sets):
            yield self._set(path)


def _accuracy(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for seed in args.seeds:
        for data in bench.sets():
            found += accuracy(
                data, seed, minibatch_cells=args.batch, steps=args.steps, modes=args.negatives
            )
        done = sorted({row["seed"] for row in found})
        notes = ACCURACY.format(seeds=done, steps=args.steps, batch=args.batch)
        yield found, [*notes.splitlines(), *accuracy_table(found)]


def _stopping(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for seed in args.stop_seeds:
        for data in bench.sets():
            found += stopping(
                data,
                seed,
                minibatch_cells=[EVERY_CELL, args.batch],
                first=args.first,
                steps=args.long_steps,
            )
        done = sorted({row["seed"] for row in found})
        notes = STOPPING.format(seeds=done, steps=args.long_steps, first=args.first)
        yield found, [*notes.splitlines(), "", *stopping_table(found, args.steps)]


def _curves(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, found = bench.args, []
    for seed in args.curve_seeds:
        for data in bench.sets():
            found += curves(
                data,
                seed,
                minibatch_cells=args.batch,
                steps=args.steps,
                every=args.curve_every,
                modes=args.negatives,
            )
    notes = CURVES.format(seeds=args.curve_seeds, batch=args.batch)
    yield found, [*notes.splitlines(), "", *curves_table(found)]


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
    source = labelled_files(args.data, [args.copies_of])[0]
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        found = copies(
            Atlas(source, args.copies_cells, args.copies, Path(folder)),
            minibatch_cells=args.copies_batch,
            steps=args.steps,
            seeds=args.copies_seeds,
        )
    notes = COPIES.format(
        source=source.stem, batch=args.copies_batch, steps=args.steps, seeds=args.copies_seeds
    )
    yield found, [*notes.splitlines(), "", *copies_table(found)]


SECTIONS: Sections = {
    "accuracy": Section("Clusters after equal steps", _accuracy),
    "stopping": Section("The step at which training stops", _stopping),
    "curves": Section("Losses during training", _curves),
    "gradients": Section("Gradients against the full gradient", _gradients),
    "copies": Section("One atlas at several sizes", _copies),
}


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("bench.training.equivalence", __doc__)
    add_data(parser)
    add_only(parser, SECTIONS, "sections")
    add_seeds(parser, [0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1_024, help="cells of a mini-batch")
    parser.add_argument("--negatives", type=words, default=["moments", "sampled"])
    parser.add_argument("--curve-seeds", type=numbers, default=[0])
    parser.add_argument("--curve-every", type=int, default=10, help="steps between exact losses")
    parser.add_argument("--stop-seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--long-steps", type=int, default=200, help="steps of stopping")
    parser.add_argument("--first", type=int, default=50, help="step at which stopping scores first")
    parser.add_argument("--batch-sizes", type=numbers, default=[256, 512, 1_024, 2_048, 4_096])
    parser.add_argument("--pieces", type=numbers, default=[8, 32, 128], help="of gradients")
    parser.add_argument(
        "--points", type=numbers, default=[0, 10, 50], help="steps before gradients"
    )
    parser.add_argument("--copies-of", default="pbmc4k", help="part of the name of the set")
    parser.add_argument("--copies-cells", type=int, default=4_096)
    parser.add_argument("--copies", type=numbers, default=[1, 4, 16])
    parser.add_argument("--copies-batch", type=int, default=4_096)
    parser.add_argument("--copies-seeds", type=numbers, default=[0])
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the sections asked for; the page is written whenever a seed of one is done."""
    bench = _Bench(parsed(_parser(), arguments))
    print(measure_sections("Mini-batches against full batches", SECTIONS, bench))


if __name__ == "__main__":
    main()
