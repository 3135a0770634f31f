"""Random damages to small files of every format: one line and exit code 2, or the right result.

``python -m bench.inputs.damages --number 200``

Each damaged file goes through the stages of a run that read the input, and the writing of the result; the first
``--whole`` files through ``scrcl run`` in a process of its own. Right is exit code 2 with one line of error and no
result, or exit code 0 with a result that has the cells, genes and values that anndata (for mtx and 10x: a plain reader)
finds in the damaged file, or those from before the damage. A byte of a value that is stored without a checksum can
change unseen, so the damaged file is read again to know what is in it. Wrong are tracebacks, other results, files that
are left half written, and inputs that were changed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import parsed, parser_of
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.inputs.damage import DAMAGES, fitting
from bench.inputs.encodings import ENCODINGS, small_cells
from bench.inputs.reading import Found, read_plainly, read_result
from scrcl._contract import Estimate
from scrcl.engine.annotate import merged_keys
from scrcl.engine.open_run import OpenRun
from scrcl.engine.results import keys_of_input, write_result_of
from scrcl.engine.run import run_files
from scrcl.engine.stage import Record, Stage
from scrcl.engine.stages.features import FeaturesStage
from scrcl.engine.stages.read import ReadStage
from scrcl.engine.stages.stats import StatsStage
from scrcl.errors import ScrclError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    import anndata as ad

    from bench._frame.rows import Row
    from scrcl import RunConfig
    from scrcl._contract import Shape
    from scrcl.engine.context import Context

__all__ = ["FORMATS", "UP_TO_RESULT", "hash_of", "judged", "main", "through_stages"]

FORMATS = (
    "h5ad CSR", "h5ad CSC", "h5ad dense", "h5ad CSR, gzip", "h5ad dense, tables of records", "Zarr v2 CSR",
    "Zarr v3 CSR", "Zarr v3 dense", "Zarr v2 CSR, zip", "10x h5, version 3", "10x h5, version 2", "mtx", "mtx, gzip",
)  # fmt: skip

_SETTINGS = (
    "reduce.n_comps=5", "graph.n_neighbors=4", "train.steps=2", "scrcl.dim=8", "scrcl.refined_dim=4",
    "report.umap_cells=0", "n_clusters=3",
)  # fmt: skip
_HALF_WRITTEN = (".partial", ".tmp", ".unfinished")


class _ResultStage(Stage[Record]):
    """Writes the result as the last stage of a run does, of what the stages before it found."""

    name = "result"
    record = Record

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return nothing: the data are small."""
        return Estimate(0)

    def run(self, context: Context, folder: Path) -> Record:  # noqa: ARG002
        """Write the result."""
        run = OpenRun(context.folder, context.stages[:-1], context.config)
        return Record(
            files=(
                write_result_of(
                    context,
                    merged_keys(run, run.finished, keys_of_input(context.matrix, context.config)),
                ),
            )
        )


UP_TO_RESULT = (ReadStage(), StatsStage(), FeaturesStage(), _ResultStage())
"""The stages of a run that read the input, and one that writes the result."""


def through_stages(path: Path, out: Path) -> tuple[int, str]:
    """Run the stages that read the input, and write the result; returns exit code and text as the command would."""
    config = runs.config_of([*_SETTINGS], device="cpu", keep_x=True)
    try:
        run_files([path], out, config, stages=UP_TO_RESULT)
    except ScrclError as error:
        return 2, f"error: {error}"
    except Exception:  # noqa: BLE001 - it is what is looked for
        return 1, traceback.format_exc()
    return 0, ""


def _through_command(path: Path, out: Path) -> tuple[int, str]:
    """Run the command line in a process of its own; returns its exit code and all that it printed."""
    settings = [part for setting in _SETTINGS for part in ("--set", setting)]
    options = ["-o", str(out), "--keep-x", "--quiet", *settings]
    done = subprocess.run(
        [sys.executable, "-m", "scrcl", "run", str(path), *options],
        capture_output=True, text=True, check=False, errors="replace",
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def hash_of(path: Path) -> str:
    """Return a hash of names and content of a file or folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    hashed = hashlib.blake2b()
    for file in files:
        hashed.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return hashed.hexdigest()


def judged(
    path: Path, before: Found, folder: Path, through: Callable[[Path, Path], tuple[int, str]]
) -> Row:
    """Run a damaged file, and return what happened: ``outcome``, ``right`` and the last line of error."""
    out, content = folder / "out", hash_of(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, text = through(path, out)
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    row: Row = {"output": (errors or [""])[-1].replace(str(folder), "")[:400], "right": False}
    left = [p.name for p in folder.rglob("*") if p.suffix in _HALF_WRITTEN]
    if "Traceback" in text or code not in (0, 2):
        return {**row, "outcome": "traceback", "output": " ".join(text.split())[-400:]}
    if hash_of(path) != content:
        return {**row, "outcome": "input changed"}
    if code == 2:
        results = list(out.glob("result.*"))
        if len(errors) != 1 or results or left:
            return {**row, "outcome": f"leftovers {results or left}" if errors else "no line"}
        return {**row, "outcome": "refused", "right": True}
    found = read_result(out / "result.h5ad")
    if found == before:
        return {**row, "outcome": "as before the damage", "right": True}
    if found == read_plainly(path):
        return {**row, "outcome": "as the damaged file reads", "right": True}
    return {**row, "outcome": "another result"}


def _damaged(
    number: int, name: str, cells: ad.AnnData, folder: Path, seed: int
) -> tuple[Path, str, str]:
    rng = np.random.default_rng([seed, number])
    path = ENCODINGS[name](cells, folder / "in" / "cells")
    names = fitting(path)
    kind = names[int(rng.integers(len(names)))]
    return path, kind, DAMAGES[kind](path, rng)


def main(arguments: list[str] | None = None) -> None:
    """Damage files, run them, and write the page."""
    parser = parser_of("bench.inputs.damages", __doc__)
    parser.add_argument("--number", type=int, default=200, help="number of damages")
    parser.add_argument("--whole", type=int, default=0, help="so many by the whole command")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to repeat one")
    parser.add_argument("--seed", type=int, default=0)
    args = parsed(parser, arguments)
    write_results(args, "Damaged inputs", _body(logged(args.out, _rows(args))))


def _rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield each damage and what came of it."""
    cells = small_cells(40, 30)
    before = Found.of(cells)
    for number in range(args.first, args.first + args.number):
        name = FORMATS[number % len(FORMATS)]
        through = _through_command if number < args.whole else through_stages
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "in").mkdir()
            path, kind, what = _damaged(number, name, cells, folder, args.seed)
            row = {"number": number, "format": name, "damage": kind, "what": what}
            yield {**row, **judged(path, before, folder, through)}


def _body(rows: list[Row]) -> list[str]:
    counts = Counter((row["damage"], row["outcome"].partition(" [")[0]) for row in rows)
    outcomes = sorted({outcome for _, outcome in counts})
    kinds = sorted({kind for kind, _ in counts})
    lines: list[list[Any]] = [[kind, *(counts[kind, each] for each in outcomes)] for kind in kinds]
    total = ["all", *(sum(counts[kind, each] for kind in kinds) for each in outcomes)]
    wrong = [row for row in rows if not row["right"]]
    body = [f"{len(rows)} damages, {len(rows) - len(wrong)} with the right outcome.", ""]
    body += table(["damage", *outcomes], [*lines, total])
    if wrong:
        listed = [[r["number"], r["format"], r["what"], r["outcome"], r["output"]] for r in wrong]
        body += [
            "",
            "## Wrong",
            "",
            *table(["number", "format", "damage", "outcome", "line"], listed),
        ]
    return body


if __name__ == "__main__":
    main()
