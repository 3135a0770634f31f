"""Donors: ways to join batches, by agreement with types, mixing, CPU seconds and memory, where types are known.

``python -m bench.batches.donors --data DIR``

Cases are of four families: sets with batches, halves of sets with a simulated effect, simulated atlases, and random
batches, where nothing is to be corrected (`bench.batches.donor_cases`). ``--ways`` names what is compared: scrcl, with
genes alone chosen by batch, with correction, or without a batch key; and Leiden on scanpy's
components, plain, corrected by Harmony, or with as many neighbours in each batch (as BBKNN has them), or on scVI's
latent space. Each way finds the number of types ("found"; Leiden at resolution 1), and gets the true one ("at K").
``--keep`` keeps the rows of the page that the command does not make.

Ways run in processes of their own (`bench.batches.ways`), so that CPU seconds and peak memory are their own. Types are
used only for the scores, and to make cases. Where scib-metrics is installed, spaces are scored by it too: the
components of all ways (corrected ones where they are), scrcl's embedding, and scVI's latent space. Of the graph of
balanced neighbours, the same is counted here.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.arguments import (
    add_columns,
    add_data,
    add_seeds,
    add_settings,
    choices_of,
    parsed,
    parser_of,
)
from bench._frame.conditions import conditions, stamp
from bench._frame.labelled import LABELS, labelled_files
from bench._frame.page import commands_of, write_page
from bench._frame.rows import logged, read_rows, rows_of
from bench.accuracy.cases import best_f1
from bench.batches.donor_cases import FAMILIES, cases_of
from bench.batches.donor_tables import tables
from bench.batches.spaces import space_scores
from bench.batches.ways import OURS, PEERS, Task, Workers, found_by

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from bench._frame.rows import Row
    from bench.batches.donor_cases import Case
    from bench.batches.ways import Found

__all__ = ["main"]

_WAYS = [*OURS, *PEERS]
_USUAL = ["no batch key", "genes only", "correct", *PEERS[:3]]
_LEAST_CELLS, _OF_ONE_BATCH = 5, 0.95


def _scores(case: Case, one: Found, spaces: _SpacesOfCase) -> Row:
    """Return the scores of one way on a case, and its record."""
    from sklearn.metrics import normalized_mutual_info_score

    from scrcl.engine.evaluate import score

    types = case.cells.obs[LABELS].to_numpy()[one.cells]
    batches = case.cells.obs[case.column].astype(str).to_numpy()[one.cells]
    isolated = _of_one_batch(types, batches)
    return {
        "n_cells": len(types),
        "n_batches": len(set(batches)),
        "k": len(set(types)),
        "k_found": int(one.found.max()) + 1,
        "ari_found": score(one.found, types)["ari"],
        "ari_at_k": score(one.at_k, types)["ari"],
        "isolated": len(isolated),
        "isolated_found": _mean_f1(one.found, types, isolated),
        "isolated_at_k": _mean_f1(one.at_k, types, isolated),
        "nmi_batches": float(normalized_mutual_info_score(batches, one.found)),
        "spaces": {
            name: spaces.scores(points, batches, types) for name, points in one.spaces.items()
        },
        **one.record,
    }


class _SpacesOfCase:
    """Scores of the spaces of a case; those that several ways have are scored once."""

    def __init__(self) -> None:
        self._scores: dict[bytes, dict[str, float]] = {}

    def scores(self, points: Any, batches: Any, types: Any) -> dict[str, float]:
        key = np.ascontiguousarray(points).tobytes()
        if key not in self._scores:
            self._scores[key] = space_scores(points, batches, types)
        return self._scores[key]


def _of_one_batch(types: Any, batches: Any) -> list[Any]:
    """Return the types whose cells are of one batch, but for a few."""
    import pandas as pd

    table = pd.crosstab(types, batches)
    sizes = table.sum(axis=1)
    alone = (table.max(axis=1) >= _OF_ONE_BATCH * sizes) & (sizes >= _LEAST_CELLS)
    return list(table.index[alone])


def _mean_f1(clusters: Any, types: Any, some: list[Any]) -> float | None:
    """Return the mean, over some types, of the best F1 that a cluster has with the type."""
    names = np.unique(types)
    _, best = best_f1(clusters, types)
    return float(best[np.isin(names, some)].mean()) if some else None


def _rows(paths: Sequence[Path], args: argparse.Namespace) -> Iterator[Row]:
    """Yield the scores of each way on each case of the sets."""
    with ExitStack() as stack:
        find = found_by if args.together else Workers(stack).found
        for path in paths:
            for case in cases_of(
                path, args.families, columns=args.columns, most_cells=args.most_cells
            ):
                yield from _rows_of(case, find, args)


def _rows_of(case: Case, find: Callable[[Task], Found], args: argparse.Namespace) -> Iterator[Row]:
    """Yield the scores of each way on a case."""
    spaces = _SpacesOfCase()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        file = Path(folder) / "cells.h5ad"
        case.cells.write_h5ad(file)
        for seed, way in product(args.seeds, args.ways):
            if way == "no batch key" and case.family != "random":
                continue  # the others have batches, and the question is what to do with them
            one = find(Task(way, file, case.column, seed, tuple(args.set)))
            which = {"family": case.family, "dataset": case.dataset, "column": case.column}
            yield {**stamp(), **which, "seed": seed, "way": way, **_scores(case, one, spaces)}


def _others(rows: list[Row], paths: Sequence[Path], args: argparse.Namespace) -> list[Row]:
    """Return the rows that this command does not make."""
    sets = {path.stem for path in paths}
    return [
        row
        for row in rows
        if row["dataset"].partition(",")[0] not in sets
        or (row["family"] not in args.families or row["seed"] not in args.seeds)
        or row["way"] not in args.ways
    ]


def _order(row: Row) -> tuple[int, str, int, int]:
    return FAMILIES.index(row["family"]), row["dataset"], row["seed"], _WAYS.index(row["way"])


def main(arguments: list[str] | None = None) -> None:
    """Run all ways on all cases and write the tables and their rows."""
    parser = parser_of("bench.batches.donors", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    add_columns(parser)
    parser.add_argument("--families", type=choices_of(FAMILIES, "families"), default=list(FAMILIES))
    parser.add_argument("--ways", type=choices_of(_WAYS, "ways"), default=_USUAL)
    parser.add_argument(
        "--most-cells", type=int, default=1_500, help="of a case that is not a whole set"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the rows of the page that are not made here"
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="all in one process: quick, and memory is that of all",
    )
    args = parsed(parser, arguments)
    paths = labelled_files(args.data, args.sets)
    kept = _others(read_rows(rows_of(args.out)), paths, args) if args.keep else []
    commands = [*(commands_of(args.out) if args.keep else []), args.command]
    rows = sorted(logged(args.out, _rows(paths, args), kept), key=_order)
    at = conditions(commits={row["commit"] for row in rows})
    write_page(args.out, "Donors", commands, at, tables(rows))


if __name__ == "__main__":
    main()
