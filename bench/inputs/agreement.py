"""One matrix in every encoding: whether all give the same genes, cells, values and labels.

``python -m bench.inputs.agreement``

Each encoding is read through the reader of a run, and its values are compared with the matrix that was written. Then it
is run as a whole, and components and labels are compared bit by bit with those of the first
encoding. Joins are of two halves of the cells, each half in another encoding.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_settings, parsed, parser_of
from bench._frame.page import table, write_results
from bench._frame.rows import write_rows
from bench.inputs.encodings import ENCODINGS, IN_MEMORY, LAYERS, small_cells

if TYPE_CHECKING:
    import anndata as ad

    from bench._frame.rows import Row
    from scrcl import RunConfig
    from scrcl.io.matrix import CellMatrix

__all__ = ["JOINS", "is_same_matrix", "main", "opened"]

JOINS = (
    ("h5ad CSR", "h5ad CSR"),
    ("h5ad CSR", "h5ad CSC"),
    ("h5ad dense", "Zarr v2 CSR"),
    ("h5ad CSR, columns unsorted", "Zarr v3 CSR, shards"),
    ("Zarr v2 CSC", "10x h5, version 3"),
    ("Zarr v3 dense", "mtx"),
    ("10x h5, version 2", "mtx, gzip"),
    ("mtx, cells by genes", "h5ad CSR of int32"),
    ("h5ad dense of uint8", "scrcl convert"),
    ("Zarr v2 CSR, zip", "h5ad dense, no attributes"),
)
"""Encodings of the two halves."""

_SMALL = (
    "reduce.n_comps=10", "graph.n_neighbors=6", "train.steps=6", "scrcl.dim=16", "scrcl.refined_dim=8",
    "report.umap_cells=0", "n_clusters=3",
)  # fmt: skip


def opened(name: str, cells: ad.AnnData, folder: Path) -> CellMatrix:
    """Return the matrix of an encoding as a run reads it."""
    from scrcl.io.open import from_anndata, open_input
    from scrcl.io.transpose import Scratch

    folder.mkdir(parents=True, exist_ok=True)
    if name in IN_MEMORY:
        scratch = Scratch(folder / "copy", 1 << 20)
        return from_anndata(IN_MEMORY[name](cells, folder / "cells"), scratch=scratch)
    path = ENCODINGS[name](cells, folder / "cells")
    return open_input([path], layer=LAYERS.get(name), scratch=folder / "copy")


def is_same_matrix(matrix: CellMatrix, cells: ad.AnnData) -> bool:
    """Return whether genes, cells and all values are those of ``cells``."""
    values = matrix.x(37).compute()
    return (
        matrix.var.index.tolist() == cells.var_names.tolist()
        and matrix.obs.index.tolist() == cells.obs_names.tolist()
        and np.array_equal(values.toarray(), cells.X.toarray())
    )


def _found(data: Any, out: Path, config: RunConfig) -> tuple[Any, ...]:
    """Return what a whole run found, as bytes that can be compared."""
    import scrcl

    result = scrcl.fit(data, out=out, config=config)
    run = scrcl.open_run(out)
    named = (result.obs_names.tolist(), result.var_names.tolist())
    return (*named, run.labels.tobytes(), np.asarray(run.components).tobytes())


def _whole_run(name: str, cells: ad.AnnData, folder: Path, settings: list[str]) -> tuple[Any, ...]:
    layer = [f"layer={LAYERS[name]}"] if name in LAYERS else []
    config = runs.config_of([*_SMALL, *layer, *settings], device="cpu")
    make = IN_MEMORY.get(name) or ENCODINGS[name]
    return _found(make(cells, folder / "again"), folder / "out", config)


def _joined_run(
    names: tuple[str, str], cells: ad.AnnData, folder: Path, settings: list[str]
) -> tuple[Any, ...]:
    config = runs.config_of([*_SMALL, *settings], device="cpu")
    halves = (cells[: cells.n_obs // 2].copy(), cells[cells.n_obs // 2 :].copy())
    paths = []
    for name, half, sample in zip(names, halves, ("first", "second"), strict=True):
        (folder / sample).mkdir(parents=True)
        paths.append(ENCODINGS[name](half, folder / sample / "cells"))
    return _found(paths, folder / "out", config)


def main(arguments: list[str] | None = None) -> None:
    """Read and run every encoding and join, and write the page."""
    parser = parser_of("bench.inputs.agreement", __doc__)
    add_settings(parser)
    parser.add_argument("--whole", type=int, help="so many encodings and joins as whole runs (all)")
    args = parsed(parser, arguments)
    cells, rows, first = small_cells(), [], None
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate([*ENCODINGS, *IN_MEMORY]):
            folder = Path(scratch) / f"encoding-{number}"
            row: Row = {"what": name, "values": is_same_matrix(opened(name, cells, folder), cells)}
            if args.whole is None or number < args.whole:
                found = _whole_run(name, cells, folder, args.set)
                first = first or found
                row["run"] = found == first
            rows.append(row)
        first = None
        for number, names in enumerate(JOINS[: args.whole]):
            found = _joined_run(names, cells, Path(scratch) / f"join-{number}", args.set)
            first = first or found
            rows.append({"what": " + ".join(names), "run": found == first})
    shown = {True: "same", False: "DIFFERENT", None: ""}
    body = table(
        ["encoding, or encodings of two halves", "genes, cells, values", "components and labels"],
        [[row["what"], shown[row.get("values")], shown[row.get("run")]] for row in rows],
    )
    write_results(args, "One matrix in many encodings", body)
    write_rows(args.out, rows)


if __name__ == "__main__":
    main()
