"""New slices: a run on all slices but one, and the prediction of that one.

``python -m bench.spatial.new_slices --data DIR``

Cases are the sets with slices, and simulated sections of several patients (`bench.spatial.patients`). Each slice is
left out once. Its domains are compared with the labels, and so are those of the run on the other slices, and those of a
run on all of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, numbers, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.spatial.patients import PATIENT, patients

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from anndata import AnnData

    from bench._frame.rows import Row

__all__ = ["main"]

_SETS = {"starmap_mpfc_bass": "sample"}
"""Sets with slices, and the column that names these."""


def _cases(args: argparse.Namespace) -> Iterator[tuple[str, AnnData, str]]:
    """Yield the name and the cells of each case, and the column of its slices."""
    import anndata

    for name, key in _SETS.items():
        path = args.data / f"{name}.h5ad"
        if path.exists():
            yield name, anndata.read_h5ad(path), key
    for effect in args.effects:
        cells = patients(args.sections, effect=effect / 100, seed=0, n_genes=args.genes)
        yield f"sections, effect {effect / 100:g}", cells, PATIENT


def _rows(name: str, cells: AnnData, key: str, seed: int, settings: list[str]) -> Iterator[Row]:
    """Yield a row for each slice that is left out."""
    k = cells.obs[LABELS].nunique()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        config = [*settings, f"n_clusters={k}", f"sample_key={key}"]
        whole = _run(cells, Path(folder) / "all", config, seed)
        for number, out in enumerate(cells.obs[key].astype(str).unique()):
            left = (cells.obs[key] == out).to_numpy()
            here = Path(folder) / str(number)
            others = _run(cells[~left].copy(), here, config, seed)
            new, confidence = _predicted(cells[left].copy(), here)
            labels = cells.obs[LABELS].to_numpy()
            yield {
                "case": name,
                "slice": out,
                "seed": seed,
                "n_cells": int(left.sum()),
                "k": k,
                "k_new": len(np.unique(new)),
                "ari_new": _ari(new, labels[left]),
                "ari_whole": _ari(whole[left], labels[left]),
                "ari_run": _ari(others, labels[~left]),
                "confidence": float(np.median(confidence)),
            }


def _ari(found: np.ndarray, types: np.ndarray) -> float:
    from scrcl.engine.evaluate import score

    return float(score(found, types)["ari"])


def _run(cells: AnnData, folder: Path, settings: list[str], seed: int) -> np.ndarray:
    """Return the domains of a run; it is left in the folder."""
    folder.mkdir()
    cells.write_h5ad(folder / "cells.h5ad")
    config = runs.config_of(settings, seed=seed, spatial=True, device="cpu", umap={"cells": 0})
    runs.run(folder / "cells.h5ad", folder / "run", config)
    return np.asarray(runs.opened(folder / "run").labels)


def _predicted(cells: AnnData, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the domains of a new slice, and their confidence."""
    import scrcl

    found = scrcl.predict(folder / "run", cells, out=folder / "predicted")
    return found.obs["scrcl"].cat.codes.to_numpy(), found.obs["scrcl_confidence"].to_numpy()


def _table(rows: list[Row]) -> list[str]:
    columns = [
        "case",
        "slice",
        "cells",
        "ARI of the new slice",
        "in a run on all",
        "ARI of the run on the others",
    ]
    columns += ["domains, of all", "confidence"]
    return table(
        columns,
        [
            [
                row["case"], row["slice"], f"{row['n_cells']:,}", f"{row['ari_new']:.2f}", f"{row['ari_whole']:.2f}",
                f"{row['ari_run']:.2f}", f"{row['k_new']} of {row['k']}", f"{row['confidence']:.2f}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run and predict all cases; write the table and its rows."""
    parser = parser_of("bench.spatial.new_slices", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--effects", type=numbers, default=[0, 50, 100], help="in percent")
    parser.add_argument("--sections", type=int, default=4)
    parser.add_argument("--genes", type=int, default=2_000)
    args = parsed(parser, arguments)
    rows = logged(args.out, _all_rows(args))
    note = "At the true number of domains. The confidence is the median over the cells of the new slice."
    write_results(args, "New slices of a tissue", [note, "", *_table(rows)])


def _all_rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of all cases and seeds."""
    for name, cells, key in _cases(args):
        for seed in args.seeds:
            for row in _rows(name, cells, key, seed, args.set):
                yield {**stamp(), **row}


if __name__ == "__main__":
    main()
