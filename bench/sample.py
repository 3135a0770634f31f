"""Batches: how fast they are made, what their composition does to the means, and to the clusters.

``python -m bench.sample --run RUN --large RUN --data DIR --work FOLDER --out bench/results/NAME.md``

``--run`` and ``--large`` are folders of runs that ended after components (``scrcl run ... --until reduce``);
where they are not given, points around centres are drawn. Graphs and lists of near cells are kept in ``--work``.
Sections: ``speed`` (sampling, and steps), ``moments`` (means and loss terms), ``accuracy`` (agreement with labels).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.process import commit
from bench.sample_accuracy import agreement, agreement_table
from bench.sample_data import Points, clustered_points, prepared
from bench.sample_speed import sampling, sampling_table, stepping, stepping_table
from bench.sample_study import Study, composition, composition_table
from scrcl.graph.backends import Search
from scrcl.graph.csr import normalized_adjacency
from scrcl.graph.genes import gene_graph
from scrcl.graph.knn import knn
from scrcl.prep.pca import Pca, gene_sketch
from scrcl.train.config import TrainConfig
from scrcl.train.methods.scrcl.minibatch import Inputs, smooth_genes

if TYPE_CHECKING:
    from scrcl.typing import FloatArray

__all__ = ["main"]

N_NEIGHBORS, N_GENE_NEIGHBORS = 15, 5
SKIPPED = 20
"""Batches that fill the running means before a study looks."""

SAID = "## What it says"

SPEED = """\
Batches of {batch:,}. Medians of {repeats} batches a row (of half as many steps), the sides in turn, so that what else
the machine does slows them alike; a ratio is the median, over batches, of a side's time over that of native sampling
(over that of uniform batches) just before. The batches of all sides are compared in the run, and are the same. NumPy
is `numpy.unique` in place of the compiled numbering; reading of rows and drawing of neighbours are the same code."""

MOMENTS = """\
{cells:,} cells, {steps} steps of training, then weights that stand still; at least {batches} batches a row, whole
epochs. Errors in percent, mean ± deviation over batches: of means, the length of the error over that of the
truth; of terms, against the same batch with the means over all cells. Own: the batch's means (`negatives=batch`);
running: those of the last batches, decay .9 (`moments`); sampled: of 4,096 cells drawn beside the batch. The last
column is how a term itself differs from batch to batch, the means being those of all cells."""

ACCURACY = """\
ARI, K given, batches of {batch:,}, lists of about {lists} cells, {steps} steps, seeds {seeds}; all else is the
default. Mean ± deviation over seeds; a column is a composition and where its means come from (`negatives`)."""


class _Bench:
    """What the sections share; all of it is made when first asked for."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    @cache  # noqa: B019 - one bench lives as long as the process
    def points(self, *, large: bool = False) -> Points:
        """Cells, their graph and their lists."""
        args = self.args
        run, n_cells = (args.large, args.large_cells) if large else (args.run, args.cells)
        rows: FloatArray
        if run is None:
            rows = clustered_points(n_cells, args.dims)
        else:
            rows = np.load(run / "stages" / "reduce" / "scores.npy", mmap_mode="r")[:n_cells]
        name = f"{'drawn' if run is None else run.name}_{len(rows)}_{args.list_cells}"
        return prepared(rows, args.work / name, n_neighbors=N_NEIGHBORS, list_cells=args.list_cells)

    def inputs(self) -> Inputs:
        """Return what training reads of the smaller set: as the engine writes it, in memory."""
        points = self.points()
        x = points.rows[points.cells]
        x /= np.sqrt(np.square(x, dtype=np.float64).mean())
        x = x.astype(np.float32)
        if self.args.run is None:
            sketch = np.random.default_rng(0).normal(size=(200, x.shape[1])).astype(np.float32)
        else:
            sketch = gene_sketch(Pca.load(self.args.run / "stages" / "reduce" / "pca.npz"))
        near = knn(sketch, N_GENE_NEIGHBORS, seed=0, search=Search("exact")).ids
        genes = smooth_genes(sketch / sketch.std(), gene_graph(near))
        return Inputs(x, normalized_adjacency(points.graph) @ x, genes, points.graph, points.cells)


def _speed(bench: _Bench) -> tuple[Any, list[str]]:
    args = bench.args
    sizes = {"batch_cells": args.batch, "pieces": [1, *args.pieces]}
    found: dict[str, list[dict[str, Any]]] = {"sampling": [], "stepping": []}
    for large in (False, True):
        found["sampling"] += sampling(bench.points(large=large), repeats=args.repeats, **sizes)
    found["stepping"] = stepping(bench.inputs(), repeats=max(args.repeats // 2, 1), **sizes)
    return found, [
        *SPEED.format(batch=args.batch, repeats=args.repeats).splitlines(),
        "",
        *sampling_table(found["sampling"]),
        "",
        *stepping_table(found["stepping"]),
    ]


def _moments(bench: _Bench) -> tuple[Any, list[str]]:
    args = bench.args
    study = Study.after_training(
        bench.inputs(), TrainConfig(steps=args.steps, batch_cells=args.batch)
    )
    found = [
        composition(
            study,
            batch_cells=cells,
            piece_cells=piece,
            n_batches=args.batches,
            skipped=SKIPPED,
        )
        for cells in args.batch_sizes
        for piece in [p for p in (1, *args.study_pieces, cells) if p <= cells]
    ]
    return found, [
        *MOMENTS.format(
            cells=study.inputs.graph.n, steps=args.steps, batches=args.batches
        ).splitlines(),
        *composition_table(found),
    ]


def _accuracy(bench: _Bench) -> tuple[Any, list[str]]:
    args = bench.args
    found = [
        row
        for path in sorted(args.data.glob("*.h5ad"))
        if any(name in path.stem for name in args.sets.split(","))
        for row in agreement(
            path,
            batch_cells=args.accuracy_batch,
            pieces=[1, *args.accuracy_pieces],
            list_cells=args.accuracy_lists,
            negatives=args.negatives.split(","),
            seeds=args.seeds,
            steps=args.accuracy_steps,
        )
    ]
    return found, [
        *ACCURACY.format(
            batch=args.accuracy_batch,
            lists=args.accuracy_lists,
            steps=args.accuracy_steps,
            seeds=args.seeds,
        ).splitlines(),
        "",
        *agreement_table(found),
    ]


SECTIONS = {
    "speed": ("How fast", _speed),
    "moments": ("What joining does to the means and the losses", _moments),
    "accuracy": ("Agreement with labels", _accuracy),
}


def _kept(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sections that were measured before and are not asked for now."""
    path = None if args.out is None else args.out.with_suffix(".json")
    if path is None or not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _measured(name: str, bench: _Bench) -> dict[str, Any]:
    """Run one section; the record says by which command, where and when."""
    found, table = SECTIONS[name][1](bench)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = f"load {os.getloadavg()[0]:.1f} at the end, of other programs too"
    return {
        "command": f"python -m bench.sample {' '.join(bench.args.told)}",
        "where": f"{time.strftime('%Y-%m-%d')}, commit {commit()}; {machine}, {load}.",
        "found": found,
        "table": table,
    }


def _write(args: argparse.Namespace, sections: dict[str, Any]) -> str:
    lines = ["# Batches: how fast they are made, and what their composition does"]
    for name in (name for name in SECTIONS if name in sections):
        section = sections[name]
        lines += ["", f"## {SECTIONS[name][0]}", "", f"`{section['command']}`", ""]
        lines += [section["where"], "", *section["table"]]
    text = "\n".join([*lines, "", *_said(args.out)])
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
        record = json.dumps(sections, indent=1)
        args.out.with_suffix(".json").write_text(record, encoding="utf-8")
    return text


def _said(path: Path | None) -> list[str]:
    """Return the lines that somebody wrote under the last heading of the report, with it."""
    if path is None or not path.is_file():
        return []
    _, heading, rest = path.read_text(encoding="utf-8").partition(f"{SAID}\n")
    return [heading + rest] if heading else []


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="run of the smaller set")
    parser.add_argument("--large", type=Path, help="run of the larger set")
    parser.add_argument("--cells", type=int, default=100_000, help="taken of the smaller, or drawn")
    parser.add_argument("--large-cells", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=50, help="of drawn points")
    parser.add_argument("--list-cells", type=int, default=512, help="cells of a list, about")
    parser.add_argument("--work", type=Path, default=Path("out/batches"), help="cache folder")
    parser.add_argument("--batch", type=int, default=4_096, help="batches of the section speed")
    parser.add_argument("--pieces", type=_numbers, default=[128, 512], help="of the section speed")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--steps", type=int, default=50, help="of training before the study")
    parser.add_argument("--batches", type=int, default=50, help="batches studied, at least")
    parser.add_argument("--batch-sizes", type=_numbers, default=[1_024, 4_096])
    parser.add_argument("--study-pieces", type=_numbers, default=[32, 128, 512, 2_048])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of .h5ad files")
    parser.add_argument("--sets", default="", help="name parts of the labelled sets")
    parser.add_argument("--accuracy-batch", type=int, default=1_024)
    parser.add_argument("--accuracy-lists", type=int, default=128)
    parser.add_argument("--accuracy-pieces", type=_numbers, default=[32, 128, 512])
    parser.add_argument("--accuracy-steps", type=int, default=100)
    parser.add_argument("--negatives", default="moments,sampled")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections")
    parser.add_argument("--out", type=Path, help="Markdown file to write, with a .json beside it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the sections asked for; after each the report is written, with what it held of the others."""
    parser = _parser()
    args = parser.parse_args(arguments)
    args.told = sys.argv[1:] if arguments is None else arguments
    asked = args.only.split(",")
    unknown = sorted(set(asked) - set(SECTIONS))
    if unknown:
        parser.error(f"--only must name sections; got {unknown[0]!r}. There are: {list(SECTIONS)}")
    bench = _Bench(args)
    sections, text = _kept(args), ""
    for name in (name for name in SECTIONS if name in asked):
        sections[name] = _measured(name, bench)
        text = _write(args, sections)
    print(text)


if __name__ == "__main__":
    main()
