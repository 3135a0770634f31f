"""Fingerprints of runs: labels, embedding, neighbours and planned memory, against those of another version.

``python -m bench.fingerprints --data DIR --against ROWS.jsonl``

A refactor must not change a bit. Each case is a run with the default configuration on a labelled set (labels are not
read), with the settings of its row. Of each array the BLAKE2b hash of its bytes is kept, and of each stage the planned
memory. Without ``--against`` the page lists what was found.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_settings, parsed, parser_of
from bench._frame.page import table, write_results
from bench._frame.rows import read_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench._frame.rows import Row
    from scrcl import RunConfig

__all__ = ["CASES", "Case", "main"]

_ARRAYS = (
    "reduce/scores", "graph/ids", "embed/embedding", "embed/refined", "cluster/labels", "cluster/confidence",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A run: its set, settings, and whether half of the cells are held back and predicted."""

    name: str
    file: str
    settings: tuple[str, ...] = ()
    predicts: bool = False


CASES = (
    Case(
        "spatial",
        "starmap_mpfc_bass.h5ad",
        ("spatial=true", "sample_key=sample", "cluster.also=[3,12]"),
    ),
    Case("batches", "kang_pbmc_5donors.h5ad", ("batch_key=batch", "n_clusters=6")),
    Case(
        "mini-batches",
        "worm_neuron_scdeepcluster.h5ad",
        ("train.minibatch_cells=512", "train.fanout=8"),
    ),
    Case("prediction", "baron_mouse_pancreas.h5ad", predicts=True),
)


def _hashes(out: Path, case: str) -> Iterator[Row]:
    for name in _ARRAYS:
        path = out / "stages" / f"{name}.npy"
        if path.exists():
            values = np.ascontiguousarray(np.load(path))
            digest = hashlib.blake2b(values.data, digest_size=16).hexdigest()
            yield {"case": case, "what": name, "found": digest}


def _planned(file: Path, config: RunConfig, case: str) -> Iterator[Row]:
    from scrcl.engine.plan import plan_run

    for stage in plan_run([file], config).stages:
        yield {"case": case, "what": f"memory of {stage.name}", "found": stage.peak_bytes}


def _rows(case: Case, file: Path, settings: list[str], scratch: Path) -> Iterator[Row]:
    """Yield the rows of a case; the run is kept in ``scratch``."""
    config = runs.config_of([*case.settings, *settings], device="cpu")
    if not case.predicts:
        yield from _planned(file, config, case.name)
        runs.run(file, scratch / "out", config)
        yield from _hashes(scratch / "out", case.name)
        return
    import anndata

    import scrcl

    cells = anndata.read_h5ad(file)
    # A fifth of the genes is missing in the new cells.
    genes = np.flatnonzero(np.arange(cells.n_vars) % 5)
    cells[::2].copy().write_h5ad(scratch / "half.h5ad")
    cells[1::2, genes].copy().write_h5ad(scratch / "new.h5ad")
    runs.run(scratch / "half.h5ad", scratch / "out", config)
    yield from _hashes(scratch / "out", "half of the cells")
    scrcl.predict(scratch / "out", scratch / "new.h5ad", out=scratch / "predicted", device="cpu")
    yield from _hashes(scratch / "predicted", case.name)


def _compared(rows: list[Row], before: list[Row]) -> list[Row]:
    """Return the rows with ``before``, the value of the other version, and whether they are the same."""
    known = {(row["case"], row["what"]): row["found"] for row in before}
    compared = []
    for row in rows:
        other = known.get((row["case"], row["what"]))
        compared.append({**row, "before": other, "same": other == row["found"]})
    return compared


def _table(rows: list[Row]) -> list[str]:
    if "before" not in rows[0]:
        return table(
            ["case", "output", "found"], [[row["case"], row["what"], row["found"]] for row in rows]
        )
    verdicts = {True: "same", False: "DIFFERENT"}
    body = [
        [
            row["case"],
            row["what"],
            row["found"],
            "new" if row["before"] is None else verdicts[row["same"]],
        ]
        for row in rows
    ]
    return table(["case", "output", "found", "against"], body)


def main(arguments: list[str] | None = None) -> None:
    """Run all cases whose set is in the folder, and write the page."""
    parser = parser_of("bench.fingerprints", __doc__)
    add_data(parser)
    add_settings(parser)
    parser.add_argument("--against", type=Path, help="rows of another version (.jsonl)")
    args = parsed(parser, arguments)
    rows: list[Row] = []
    for case in CASES:
        file = args.data / case.file
        wanted = any(part in file.stem for part in args.sets)
        if wanted and file.exists():
            with tempfile.TemporaryDirectory(prefix="scrcl-fingerprints-") as folder:
                rows += _rows(case, file, args.set or [], Path(folder))
            print(case.name, file=sys.stderr, flush=True)
    if not rows:
        sys.exit(f"--data must hold {' or '.join(case.file for case in CASES)}; got {args.data}.")
    if args.against is not None:
        rows = _compared(rows, read_rows(args.against))
    write_rows(args.out, rows)
    write_results(args, "Fingerprints of runs", _table(rows))


if __name__ == "__main__":
    main()
