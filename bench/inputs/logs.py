"""The same cells as counts, and as the log values that many files have in their place.

``python -m bench.inputs.logs --data DIR``

``logs`` are log(1 + counts per 10,000). ``no counts behind`` are the same, each multiplied by a factor near one, so no
count shows in them. Each is clustered by ``scrcl run`` with its defaults, and with the batches of the set if it has a
column of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import (
    add_columns,
    add_data,
    add_seeds,
    add_settings,
    choices_of,
    parsed,
    parser_of,
)
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS, batch_column, labelled_files, read_counted
from bench._frame.page import table, write_results
from bench._frame.rows import logged

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from anndata import AnnData

    from bench._frame.rows import Row

__all__ = ["KINDS", "main"]

_SPREAD = 0.1
"""Standard deviation of the logarithm of the factors."""


def _counts(cells: AnnData) -> AnnData:
    return cells


def _logs(cells: AnnData) -> AnnData:
    import scanpy as sc

    cells = cells.copy()
    cells.X = cells.X.astype(np.float32)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    cells.uns.pop("log1p", None)
    return cells


def _no_counts_behind(cells: AnnData) -> AnnData:
    from scipy.sparse import csr_matrix

    cells = _logs(cells)
    x = csr_matrix(cells.X)
    factors = np.exp(_SPREAD * np.random.default_rng(0).normal(size=x.nnz))
    x.data = (x.data * factors).astype(np.float32)
    cells.X = x
    return cells


KINDS = {"counts": _counts, "logs": _logs, "no counts behind": _no_counts_behind}


def _rows(path: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Yield what is found in each kind of values of a set."""
    from scrcl.engine.evaluate import score

    cells = read_counted(path)
    key = batch_column(cells, args.columns)
    for seed in args.seeds:
        config = runs.config_of(args.set, seed=seed, batch_key=key)
        for kind in args.kinds:
            with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
                file, out = Path(folder) / "cells.h5ad", Path(folder) / "out"
                KINDS[kind](cells).write_h5ad(file)
                runs.run(file, out, config, until="cluster")
                found, kept = runs.labels(out), runs.retained(out)
                types = cells.obs[LABELS].to_numpy()[kept]
                k = len(set(types))
                at_k = runs.cluster_again(file, out, n_clusters=k)
            yield {
                **stamp(), "dataset": path.stem, "column": key, "seed": seed, "kind": kind, "k": k,
                "k_found": int(found.max()) + 1,
                "ari_found": score(found, types)["ari"],
                "ari_at_k": score(at_k, types)["ari"],
            }  # fmt: skip


def _tables(rows: list[Row]) -> list[str]:
    """Return ARI found (number) and at the true number: of each set, means over seeds, and over sets."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    sets = list(dict.fromkeys(row["dataset"] for row in rows))
    body = []
    for name in [*sets, None]:
        own = [row for row in rows if name in (None, row["dataset"])]
        first = f"**mean of {len(sets)}**" if name is None else f"{name} ({own[0]['k']})"
        body.append(
            [first, *(_cell([row for row in own if row["kind"] == kind]) for kind in kinds)]
        )
    heads = [f"{kind}: found (number), at K" for kind in kinds]
    return table(["set (K)", *heads], body)


def _cell(rows: list[Row]) -> str:
    def mean(values: Any) -> float:
        return float(np.mean(list(values)))

    off = mean(abs(row["k_found"] - row["k"]) / row["k"] for row in rows)
    number = f"{mean(row['k_found'] for row in rows):.0f}"
    if len({row["dataset"] for row in rows}) > 1:
        number = f"off by {off:.0%}"
    found, at_k = (mean(row[name] for row in rows) for name in ("ari_found", "ari_at_k"))
    return f"{found:.3f} ({number}), {at_k:.3f}"


def main(arguments: list[str] | None = None) -> None:
    """Cluster each kind of values and write the table and its rows."""
    parser = parser_of("bench.inputs.logs", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    add_columns(parser)
    parser.add_argument("--kinds", type=choices_of(KINDS, "kinds"), default=list(KINDS))
    args = parsed(parser, arguments)
    paths = labelled_files(args.data, args.sets, spatial=False)
    rows = logged(args.out, (row for path in paths for row in _rows(path, args)))
    note = "ARI with the number of clusters that is found, and at the number of types; means over seeds."
    write_results(args, "Counts and log values", [note, "", *_tables(rows)])


if __name__ == "__main__":
    main()
