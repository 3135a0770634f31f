"""Labelled sets of several donors or studies: clusters without and with correction of the components.

``python -m bench.batches.donors --data DIR --seeds 0``

Batches are the first column of ``--columns`` that a set has. With ``--random`` every set has three made batches
instead, drawn uniformly, where nothing is to be corrected. Each set is run with the number of types found, and then
clustered at the true one. ``--peers`` adds scanpy's components with Leiden, plain and corrected by Harmony; "found" is
then resolution 1. Types are used only for the score.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of, words
from bench._frame.conditions import conditions, stamp
from bench._frame.labelled import LABELS, labelled_files
from bench._frame.page import table, write_page
from bench._frame.rows import RowLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from bench._frame.rows import Row

__all__ = ["main"]

_MADE = "made"
_WAYS = {"genes only": "none", "correct": "auto"}
"""Settings of ``correct.method``: genes selected by batch in both cases."""


def _cases(path: Path, args: Any) -> Iterator[tuple[AnnData, str]]:
    """Yield the cells and the column of their batches, if they have any."""
    import anndata

    cells = anndata.read_h5ad(path)
    if args.random:
        drawn = np.random.default_rng(0).integers(3, size=cells.n_obs)
        cells.obs[_MADE] = [f"batch {number}" for number in drawn]
        yield cells, _MADE
        return
    columns = [column for column in args.columns if column in cells.obs]
    if columns and 1 < cells.obs[columns[0]].nunique() < cells.n_obs:
        yield cells, columns[0]


def _run(cells: AnnData, column: str, way: str, seed: int, settings: list[str]) -> Row:
    """Return the scores of one run, and what the stages recorded of its batches."""
    from scrcl.engine.evaluate import score
    from scrcl.engine.stages.correct import CorrectStage

    config = runs.config_of(
        settings, seed=seed, batch_key=column, correct={"method": _WAYS[way]},
        spatial="spatial" in cells.obsm,
    )  # fmt: skip
    types = cells.obs[LABELS].to_numpy()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        file, out = Path(folder) / "cells.h5ad", Path(folder) / "out"
        cells.write_h5ad(file)
        runs.run(file, out, config, until="batches")
        retained = runs.retained(out)
        found, batches = runs.labels(out), runs.batch_mixing(out)
        record = runs.opened(out).record(CorrectStage)
        at_k = runs.cluster_again(file, out, n_clusters=len(set(types)))
    assert batches is not None, "a run with batches records how they mix"
    return {
        "k": len(set(types)),
        "k_found": int(found.max()) + 1,
        "ari_found": score(found, types[retained])["ari"],
        "ari_at_k": score(at_k, types[retained])["ari"],
        "corrected": not record.left_as_is,
        "reason": record.reason,
        "mixing_before": None if record.before is None else record.before.mixing,
        "mixing_after": None if record.after is None else record.after.mixing,
        "nmi_batches": batches.nmi,
    }


def _peers(path: Path, cells: AnnData, column: str, seed: int) -> Iterator[tuple[str, Row]]:
    """Yield the scores of scanpy's components with Leiden, as they are and corrected by Harmony."""
    from harmonypy import run_harmony

    from bench.accuracy.peers import by_leiden, by_leiden_1, components
    from scrcl.engine.evaluate import score

    plain, types = np.asarray(components(path, seed=seed)), cells.obs[LABELS].to_numpy()
    _, codes = np.unique(cells.obs[column].astype(str), return_inverse=True)
    batches = cells.obs[[column]].astype(str)
    harmony = run_harmony(plain, batches, [column], verbose=False, random_state=seed)
    corrected = np.asarray(harmony.Z_corr)
    if corrected.shape != plain.shape:
        corrected = corrected.T
    k = len(set(types))
    for way, points in {"PCA + Leiden": plain, "Harmony + Leiden": corrected}.items():
        found, at_k = by_leiden_1(points, k, seed=seed), by_leiden(points, k, seed=seed)
        yield (
            way,
            {
                "k": k,
                "k_found": int(found.max()) + 1,
                "ari_found": score(found, types)["ari"],
                "ari_at_k": score(at_k, types)["ari"],
                "corrected": points is corrected,
                "reason": "",
                "mixing_before": None,
                "mixing_after": None,
                "nmi_batches": float(normalized_mutual_info_score(codes, found)),
            },
        )


def _tables(rows: list[Row]) -> list[str]:
    columns = ["set", "batches", "seed", "run", "K found (true)", "ARI found", "ARI at K"]
    columns += ["mixing before", "after", "NMI of clusters and batches"]
    body = [
        [
            row["dataset"], row["column"], row["seed"],
            row["way"] + (" (left as is)" if row["way"] == "correct" and not row["corrected"] else ""),
            f"{row['k_found']} ({row['k']})", f"{row['ari_found']:.3f}", f"{row['ari_at_k']:.3f}",
            _number(row["mixing_before"]), _number(row["mixing_after"]), f"{row['nmi_batches']:.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    means = [
        [
            way,
            *(
                f"{np.mean([row[score] for row in rows if row['way'] == way]):.3f}"
                for score in ("ari_found", "ari_at_k")
            ),
        ]
        for way in dict.fromkeys(row["way"] for row in rows)
    ]
    return [*table(columns, body), "", *table(["mean over sets", "ARI found", "ARI at K"], means)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def main(arguments: list[str] | None = None) -> None:
    """Run all sets and write the table and its rows."""
    parser = parser_of("bench.batches.donors", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--columns", type=words, default=["batch", "donor", "sample"])
    parser.add_argument("--random", action="store_true", help="made batches that differ in nothing")
    parser.add_argument(
        "--peers", action="store_true", help="also scanpy, with and without Harmony"
    )
    args = parsed(parser, arguments)
    rows: list[Row] = []
    with RowLog(args.out) as log:
        for path in labelled_files(args.data, args.sets):
            for cells, column in _cases(path, args):
                for seed in args.seeds:
                    for way in _WAYS:
                        scores = _run(cells, column, way, seed, args.set)
                        case = {"dataset": path.stem, "column": column, "seed": seed, "way": way}
                        rows.append({**stamp(), **case, **scores})
                        log.append(rows[-1])
                        print(rows[-1], flush=True)
                    for way, scores in _peers(path, cells, column, seed) if args.peers else ():
                        case = {"dataset": path.stem, "column": column, "seed": seed, "way": way}
                        rows.append({**stamp(), **case, **scores})
                        log.append(rows[-1])
    note = (
        "`genes only`: correct.method=none. `correct`: the default. Mixing: neighbours from other batches, over their "
        "number by chance."
    )
    write_page(args.out, "Donors", args.command, conditions(), [note, "", *_tables(rows)])


if __name__ == "__main__":
    main()
