"""Mini-batches: their speed, and the effect of their composition on means, losses and clusters.

``python -m bench.sampler --run RUN --large RUN --data DIR --work FOLDER``

``--run`` and ``--large`` are folders of runs that ended after components (``scrcl run ... --until reduce``). Points
around centers are drawn where they are not given. Graphs and partition lists are kept in ``--work``. Sections:
``speed`` (sampling, and steps), ``moments`` (means and loss terms), ``accuracy`` (agreement with labels).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import (
    add_data,
    add_only,
    add_repeats,
    add_seeds,
    numbers,
    parsed,
    parser_of,
    words,
)
from bench._frame.labelled import labelled_files
from bench._frame.sections import Section, Sections, measure_sections
from bench._frame.training import setup
from bench.sampler.accuracy import Plan, agreement, agreement_table
from bench.sampler.data import Points, clustered_points, prepared_points
from bench.sampler.speed import sampling, sampling_table, stepping, stepping_table
from bench.sampler.study import Study, composition, composition_table
from scrcl.graph.backends import Search
from scrcl.graph.csr import normalized_adjacency, symmetric_graph
from scrcl.graph.knn import knn
from scrcl.prep.pca import gene_sketch
from scrcl.train.methods.scrcl.inputs import Inputs, smooth_genes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from scrcl.typing import FloatArray

__all__ = ["main"]

N_NEIGHBORS, N_GENE_NEIGHBORS = 15, 5
SKIPPED = 20
"""Mini-batches that fill the running means before a study begins."""

SPEED = """\
Mini-batches of {batch:,} cells. Medians over {repeats} mini-batches for each row (half as many steps). The sides take
turns, so that other work on the machine slows all of them. A ratio is the median, over mini-batches, of a side's time
over that of native sampling (of uniform mini-batches) just before. The run checks that all sides make the same
mini-batches. NumPy: `numpy.unique` replaces the compiled numbering; the rest of the code is the same."""

MOMENTS = """\
{cells:,} cells, {steps} steps of training, then fixed weights; at least {batches} mini-batches for each row, in whole
epochs. Errors in percent, mean ± standard deviation over mini-batches. For means: the length of the error over that
of the truth. For terms: against the same mini-batch with the means over all cells. Own: the mini-batch's means
(`negatives=batch`). Running: those of the last mini-batches, decay .9 (`moments`). Sampled: those of 4,096 other
cells, drawn for the mini-batch. The last column is the spread of a term between mini-batches, with the means over all
cells."""

ACCURACY = """\
ARI, K given, mini-batches of {batch:,} cells, partition lists of about {lists} cells, {steps} steps, seeds {seeds}; all
other settings are the defaults. Mean ± standard deviation over seeds. A column is a composition and the source of its
means (`negatives`)."""


class _Bench:
    """Data that the sections share; each is made when first needed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    @cache  # noqa: B019 - one bench lives as long as the process
    def points(self, *, large: bool = False) -> Points:
        """Return cells, their graph and their partition lists."""
        args = self.args
        run, n_cells = (args.large, args.large_cells) if large else (args.run, args.cells)
        rows: FloatArray = (
            clustered_points(n_cells, args.dims) if run is None else runs.components(run)[:n_cells]
        )
        name = f"{'drawn' if run is None else run.name}_{len(rows)}_{args.list_cells}"
        return prepared_points(
            rows, args.work / name, n_neighbors=N_NEIGHBORS, list_cells=args.list_cells
        )

    def inputs(self) -> Inputs:
        """Return the training inputs of the smaller set in memory, as the engine writes them."""
        points = self.points()
        x = points.rows[points.cells]
        x /= np.sqrt(np.square(x, dtype=np.float64).mean())
        x = x.astype(np.float32)
        if self.args.run is None:
            sketch = np.random.default_rng(0).normal(size=(200, x.shape[1])).astype(np.float32)
        else:
            sketch = gene_sketch(runs.pca(self.args.run))
        near = knn(sketch, N_GENE_NEIGHBORS, seed=0, search=Search("exact")).ids
        genes = smooth_genes(sketch / sketch.std(), symmetric_graph(near))
        return Inputs(x, normalized_adjacency(points.graph) @ x, genes, points.graph, points.cells)


def _speed(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    sizes = {"minibatch_cells": args.batch, "pieces": [1, *args.pieces]}
    found: dict[str, list[dict[str, Any]]] = {"sampling": [], "stepping": []}
    for large in (False, True):
        found["sampling"] += sampling(bench.points(large=large), repeats=args.repeats, **sizes)
    found["stepping"] = stepping(bench.inputs(), repeats=max(args.repeats // 2, 1), **sizes)
    yield (
        found,
        [
            *SPEED.format(batch=args.batch, repeats=args.repeats).splitlines(),
            "",
            *sampling_table(found["sampling"]),
            "",
            *stepping_table(found["stepping"]),
        ],
    )


def _moments(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    study = Study.after_training(
        bench.inputs(), setup(steps=args.steps, minibatch_cells=args.batch)
    )
    found = [
        composition(
            study,
            minibatch_cells=cells,
            piece_cells=piece,
            n_batches=args.batches,
            skipped=SKIPPED,
        )
        for cells in args.batch_sizes
        for piece in [p for p in (1, *args.study_pieces, cells) if p <= cells]
    ]
    notes = MOMENTS.format(cells=study.inputs.graph.n, steps=args.steps, batches=args.batches)
    yield found, [*notes.splitlines(), *composition_table(found)]


def _accuracy(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    plan = Plan(
        minibatch_cells=args.accuracy_batch,
        pieces=[1, *args.accuracy_pieces],
        list_cells=args.accuracy_lists,
        negatives=args.negatives,
        steps=args.accuracy_steps,
    )
    found = [
        row
        for path in labelled_files(args.data, args.sets)
        for row in agreement(path, plan, args.seeds)
    ]
    notes = ACCURACY.format(
        batch=plan.minibatch_cells, lists=plan.list_cells, steps=plan.steps, seeds=args.seeds
    )
    yield found, [*notes.splitlines(), "", *agreement_table(found)]


SECTIONS: Sections = {
    "speed": Section("Speed", _speed),
    "moments": Section("Effect of composition on means and losses", _moments),
    "accuracy": Section("Agreement with labels", _accuracy),
}


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("bench.sampler", __doc__)
    add_data(parser, Path("data"))
    add_only(parser, SECTIONS, "sections")
    add_seeds(parser, [0, 1, 2])
    add_repeats(parser, 30, "mini-batches of the section speed")
    parser.add_argument("--run", type=Path, help="run of the smaller set")
    parser.add_argument("--large", type=Path, help="run of the larger set")
    parser.add_argument("--cells", type=int, default=100_000, help="of the smaller set")
    parser.add_argument("--large-cells", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=50, help="of drawn points")
    parser.add_argument("--list-cells", type=int, default=512, help="cells of a partition list")
    parser.add_argument("--work", type=Path, default=Path("out/batches"), help="cache folder")
    parser.add_argument("--batch", type=int, default=4_096, help="mini-batches of speed")
    parser.add_argument("--pieces", type=numbers, default=[128, 512], help="of the section speed")
    parser.add_argument("--steps", type=int, default=50, help="of training before the study")
    parser.add_argument("--batches", type=int, default=50, help="mini-batches studied, at least")
    parser.add_argument("--batch-sizes", type=numbers, default=[1_024, 4_096])
    parser.add_argument("--study-pieces", type=numbers, default=[32, 128, 512, 2_048])
    parser.add_argument("--accuracy-batch", type=int, default=1_024)
    parser.add_argument("--accuracy-lists", type=int, default=128)
    parser.add_argument("--accuracy-pieces", type=numbers, default=[32, 128, 512])
    parser.add_argument("--accuracy-steps", type=int, default=100)
    parser.add_argument("--negatives", type=words, default=["moments", "sampled"])
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the sections asked for; the page is written after each."""
    bench = _Bench(parsed(_parser(), arguments))
    title = "Mini-batches: speed, and the effect of composition"
    print(measure_sections(title, SECTIONS, bench))


if __name__ == "__main__":
    main()
