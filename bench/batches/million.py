"""Correction for batches of a million cells: CPU seconds and peak memory of the stage, against its own estimate.

``python -m bench.batches.million --sizes 300000,1000000,3000000``

Component scores of types with a shift of each batch, different in each type, are written to disk. The stage ``correct``
alone runs on them, in a process of its own: as it is (fitted on 100,000 cells, all others streamed), and with
``--direct`` also fitted on all cells in memory. Peak memory is counted by the kernel.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_sizes, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.process import bench_command, timed
from bench._frame.rows import logged

if TYPE_CHECKING:
    import argparse

    from bench._frame.rows import Row

__all__ = ["main"]

_N_TYPES = 40
_BLOCK_ROWS = 100_000
_WARM_CELLS = 2_000
_SPREAD, _SHIFT, _SHIFT_OF_TYPE = 3.0, 1.0, 0.5
"""Deviations of the means of types, of the shifts of batches, and of those by type; a cell deviates by 1."""


def _write_points(folder: Path, n: int, d: int, n_batches: int) -> None:
    """Write ``scores.npy``, float32, and ``batches.npy``."""
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(d) / 5)  # later components hold less
    means = _SPREAD * rng.normal(size=(_N_TYPES, d))
    shifts = _SHIFT * rng.normal(size=(n_batches, 1, d))
    shifts = shifts + _SHIFT_OF_TYPE * rng.normal(size=(n_batches, _N_TYPES, d))
    types = rng.choice(_N_TYPES, n, p=rng.dirichlet(np.ones(_N_TYPES)))
    batches = rng.integers(n_batches, size=n).astype(np.int32)
    points = np.lib.format.open_memmap(
        folder / "scores.npy", mode="w+", dtype=np.float32, shape=(n, d)
    )
    for start in range(0, n, _BLOCK_ROWS):
        own = slice(start, min(start + _BLOCK_ROWS, n))
        drawn = rng.normal(size=(own.stop - start, d)) + means[types[own]]
        points[own] = (drawn + shifts[batches[own], types[own]]) * scale
    points.flush()
    np.save(folder / "batches.npy", batches)


def _measure(folder: Path, *, direct: bool) -> None:
    """Run the stage on the scores of the folder, and write ``found.json``."""
    from scrcl._contract import Shape
    from scrcl.engine.covariates import Covariates
    from scrcl.engine.memory import LIBRARIES_BYTES
    from scrcl.engine.stages import correct_fit
    from scrcl.engine.stages.correct import CorrectStage
    from scrcl.engine.usage import resident_bytes
    from scrcl.io.labels import CellLabels
    from scrcl.prep.artifacts import COMPONENTS

    points, codes = np.load(folder / "scores.npy", mmap_mode="r"), np.load(folder / "batches.npy")
    (n, d), n_batches = points.shape, int(codes.max()) + 1
    config = runs.config_of([], batch_key="batch", device="cpu")
    if direct:
        correct_fit.FIT_CELLS = n

    def context_of(some: slice) -> Any:
        own, names = codes[some], tuple(f"batch {number}" for number in range(n_batches))
        opened = {COMPONENTS: points[some]}
        retained = SimpleNamespace(retained=np.ones(len(own), bool))
        return SimpleNamespace(
            config=config,
            covariates=Covariates(batches=CellLabels(own, names)),
            budget=SimpleNamespace(n_threads=2),
            open=lambda artifact: opened.get(artifact, retained),
            count=lambda *_: lambda _: None,
        )

    stage, out = CorrectStage(), folder / "out"
    out.mkdir(exist_ok=True)
    stage.run(context_of(slice(0, _WARM_CELLS)), out)  # loads and compiles all that is used
    shape = Shape(n, d, float(d), d, d, 15, n_batches)
    expected = stage.estimate(shape, config)
    libraries = resident_bytes()
    before, cpu = time.perf_counter(), time.process_time()
    record = stage.run(context_of(slice(None)), out)
    found = {
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - before,
        "expected_seconds": expected.seconds,
        "libraries_bytes": libraries,
        "expected_bytes": expected.least_bytes - LIBRARIES_BYTES,
        "n_fitted": record.n_fitted,
        "mixing_before": record.before.mixing if record.before else None,
        "mixing_after": record.after.mixing if record.after else None,
    }
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def _run_at(n: int, args: argparse.Namespace, *, direct: bool) -> Row:
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-", dir=args.scratch) as name:
        folder = Path(name)
        _write_points(folder, n, args.comps, args.batches)
        command = bench_command("batches.million", "--measure", folder)
        _, peak = timed([*command, *(["--direct"] if direct else [])])
        found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    way = "direct" if direct else "as it is"
    return {"n_cells": n, "way": way, "peak_rss_bytes": peak, **found}


def _table(rows: list[Row], args: argparse.Namespace) -> list[str]:
    columns = ["cells", "way", "fitted", "CPU s", "s", "estimated s", "MB", "estimated MB"]
    columns += ["input MB", "mixing before", "after"]
    return table(
        columns,
        [
            [
                f"{row['n_cells']:,}", row["way"], f"{row['n_fitted']:,}", f"{row['cpu_seconds']:.1f}",
                f"{row['seconds']:.1f}", "" if row["way"] == "direct" else f"{row['expected_seconds']:.1f}",
                f"{(row['peak_rss_bytes'] - row['libraries_bytes']) / 1e6:.0f}",
                "" if row["way"] == "direct" else f"{row['expected_bytes'] / 1e6:.0f}",
                f"{4 * row['n_cells'] * args.comps / 1e6:.0f}",
                f"{row['mixing_before']:.2f}",
                "" if row["mixing_after"] is None else f"{row['mixing_after']:.2f}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run all sizes and write the table."""
    parser = parser_of("bench.batches.million", __doc__)
    add_sizes(parser, [300_000, 1_000_000], "numbers of cells")
    parser.add_argument("--comps", type=int, default=50)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--direct", action="store_true", help="also fitted on all cells")
    parser.add_argument("--scratch", type=Path, help="folder for the scores")
    parser.add_argument("--measure", type=Path, help="only run the stage on the scores there")
    args = parsed(parser, arguments)
    if args.measure is not None:
        _measure(args.measure, direct=args.direct)
        return
    found = (
        {**stamp(), **_run_at(size, args, direct=direct)}
        for size in args.sizes
        for direct in ((False, True) if args.direct else (False,))
    )
    rows = logged(args.out, found)
    note = (
        f"{args.comps} components, {args.batches} batches. The stage `correct` alone: the test of need, the fit, the "
        "streaming, and the test after it. MB are those above what the libraries take."
    )
    write_results(args, "Correction of a million cells", [note, "", *_table(rows, args)])


if __name__ == "__main__":
    main()
