"""Labelled sets of several donors or studies: clusters without and with correction of the components.

``python -m bench.batches.donors --data DIR --seeds 0``

Batches are the first column of ``--columns`` that a set has. With ``--random`` every set has three made batches
instead, drawn uniformly, where nothing is to be corrected. Each set is run with the number of types found, and then
clustered at the true one. ``--ways`` names what is compared: scrcl, also with balanced neighbours, and Leiden on
scanpy's components, plain, corrected by Harmony, or with as many neighbours in each batch (as BBKNN has them), or on
scVI's latent space; "found" is then resolution 1. ``--keep`` keeps the rows of the page that the command does not make.
Types are used only for the scores. Where scib-metrics is installed, spaces are scored by it too: the components of all
ways (corrected ones where they are), scrcl's embedding, and scVI's latent space.
"""

from __future__ import annotations

import subprocess
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from bench._frame import runs
from bench._frame.arguments import (
    add_data,
    add_seeds,
    add_settings,
    choices_of,
    parsed,
    parser_of,
    words,
)
from bench._frame.conditions import conditions, stamp
from bench._frame.labelled import LABELS, labelled_files
from bench._frame.page import commands_of, table, write_page
from bench._frame.process import bench_command
from bench._frame.rows import logged, read_rows, rows_of
from bench.batches.spaces import LACKING, SCORES, space_scores, spaces_scored

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from bench._frame.rows import Row

__all__ = ["main"]

_MADE = "made"
_WAYS: dict[str, dict[str, Any]] = {
    "genes only": {"correct": {"method": "none"}},
    "correct": {},
    "balanced": {"graph": {"balanced": True}},
}
"""Settings of scrcl: genes are selected by batch in all cases."""

_PEERS = ("PCA + Leiden", "Harmony + Leiden", "balanced + Leiden", "scVI + Leiden")


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
        settings, seed=seed, batch_key=column, spatial="spatial" in cells.obsm, **_WAYS[way]
    )
    types = cells.obs[LABELS].to_numpy()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        file, out = Path(folder) / "cells.h5ad", Path(folder) / "out"
        cells.write_h5ad(file)
        runs.run(file, out, config, until="batches")
        retained = runs.retained(out)
        found, batches = runs.labels(out), runs.batch_mixing(out)
        record = runs.opened(out).record(CorrectStage)
        of_cells = cells.obs[column].to_numpy()[retained], types[retained]
        spaces = {
            "components": space_scores(runs.components(out), *of_cells),
            "embedding": space_scores(runs.embedding(out), *of_cells),
        }
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
        "spaces": spaces,
    }


def _peer(way: str, path: Path, cells: AnnData, column: str, seed: int) -> Row:
    """Return the scores of Leiden on the space of a peer."""
    from bench.accuracy.peers import by_leiden, by_leiden_1, by_leiden_on
    from scrcl.engine.evaluate import score

    points, types = _space(way, path, cells, column, seed), cells.obs[LABELS].to_numpy()
    _, codes = np.unique(cells.obs[column].astype(str), return_inverse=True)
    k = len(set(types))
    spaces = {}
    if way.startswith("balanced"):  # its components are those of PCA
        graph = _balanced_graph(points, codes, seed)
        found, at_k = by_leiden_on(graph, None, seed=seed), by_leiden_on(graph, k, seed=seed)
    else:
        found, at_k = by_leiden_1(points, k, seed=seed), by_leiden(points, k, seed=seed)
        space = "latent space" if way.startswith("scVI") else "components"
        spaces = {space: space_scores(points, codes, types)}
    return {
        "k": k,
        "k_found": int(found.max()) + 1,
        "ari_found": score(found, types)["ari"],
        "ari_at_k": score(at_k, types)["ari"],
        "corrected": way != "PCA + Leiden",
        "reason": "",
        "mixing_before": None,
        "mixing_after": None,
        "nmi_batches": float(normalized_mutual_info_score(codes, found)),
        "spaces": spaces,
    }


def _balanced_graph(points: Any, codes: Any, seed: int) -> Any:
    """Return the graph of cells with as many neighbours in each batch, weighted as those of a run are."""
    from bench.accuracy.peers import N_NEIGHBORS
    from scrcl.graph.balanced import balanced_knn
    from scrcl.graph.csr import connectivities, symmetric_graph
    from scrcl.graph.exact import ExactSearcher

    found = balanced_knn(
        np.asarray(points, np.float32), codes, N_NEIGHBORS, seed=seed,
        make_searcher=ExactSearcher, make_exact=ExactSearcher,
    )  # fmt: skip
    return connectivities(symmetric_graph(found.ids))


def _space(way: str, path: Path, cells: AnnData, column: str, seed: int) -> Any:
    from bench.accuracy.peers import components

    if way.startswith("scVI"):
        with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
            file, out = Path(folder) / "cells.h5ad", Path(folder) / "latent.npy"
            cells.write_h5ad(file)
            command = bench_command(
                "accuracy.scvi", file, "--seed", seed, "--batch", column, "--out", out
            )
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return np.load(out)
    plain = np.asarray(components(path, seed=seed))
    if not way.startswith("Harmony"):
        return plain
    from harmonypy import run_harmony

    batches = cells.obs[[column]].astype(str)
    harmony = run_harmony(plain, batches, [column], verbose=False, random_state=seed)
    corrected = np.asarray(harmony.Z_corr)
    return corrected if corrected.shape == plain.shape else corrected.T


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
    ways = list(dict.fromkeys(row["way"] for row in rows))
    in_all = _sets_of_all(rows, ways)
    means = [
        [way, *_means(rows, way, {row["dataset"] for row in rows}), *_means(rows, way, in_all)]
        for way in ways
    ]
    heading = ["mean over sets", "sets", "ARI found", "ARI at K"]
    heading += [f"the {len(in_all)} sets of all rows", "ARI found", "ARI at K"]
    return [*table(columns, body), "", *table(heading, means), "", *_spaces_table(rows)]


def _spaces_table(rows: list[Row]) -> list[str]:
    """Return the scores of each space, and their means over the sets in which it was scored."""
    scored = spaces_scored(rows)
    if not scored:
        return [LACKING]
    body: list[list[object]] = [
        [one.dataset, one.way, one.space, *(f"{one.scores[name]:.2f}" for name in SCORES)]
        for one in scored
    ]
    for way, space in dict.fromkeys((one.way, one.space) for one in scored):
        own = [one.scores for one in scored if (one.way, one.space) == (way, space)]
        means = (f"{np.mean([scores[name] for scores in own]):.3f}" for name in SCORES)
        body.append([f"mean of {len(own)}", way, space, *means])
    return table(["set", "run", "space", *SCORES], body)


def _sets_of_all(rows: list[Row], ways: list[str]) -> set[str]:
    """Return the sets that have a row for each of the ways."""
    return set.intersection(
        *({row["dataset"] for row in rows if row["way"] == way} for way in ways)
    )


def _means(rows: list[Row], way: str, sets: set[str]) -> list[object]:
    """Return the number of sets with a row, and mean scores of a way over them."""
    own = [row for row in rows if row["way"] == way and row["dataset"] in sets]
    if not own:
        return [0, "", ""]
    scores = ("ari_found", "ari_at_k")
    return [
        len({row["dataset"] for row in own}),
        *(f"{np.mean([row[score] for row in own]):.3f}" for score in scores),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _others(rows: list[Row], paths: Sequence[Path], args: Any) -> list[Row]:
    """Return the rows that this command does not make."""
    made = set(product((path.stem for path in paths), args.seeds, args.ways))
    return [row for row in rows if (row["dataset"], row["seed"], row["way"]) not in made]


def _rows(path: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Yield the scores of each way on a set."""
    for cells, column in _cases(path, args):
        for seed, way in product(args.seeds, args.ways):
            if way == "balanced" and "spatial" in cells.obsm:
                continue  # slices have coordinates of their own
            scores = (
                _peer(way, path, cells, column, seed)
                if way in _PEERS
                else _run(cells, column, way, seed, args.set)
            )
            case = {"dataset": path.stem, "column": column, "seed": seed, "way": way}
            yield {**stamp(), **case, **scores}


def main(arguments: list[str] | None = None) -> None:
    """Run all sets and write the table and its rows."""
    parser = parser_of("bench.batches.donors", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--columns", type=words, default=["batch", "donor", "sample"])
    parser.add_argument("--random", action="store_true", help="made batches that differ in nothing")
    parser.add_argument(
        "--ways",
        type=choices_of([*_WAYS, *_PEERS], "ways"),
        default=["genes only", "correct"],
        help="what is compared",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the rows of the page that are not made here"
    )
    args = parsed(parser, arguments)
    paths = labelled_files(args.data, args.sets)
    kept = _others(read_rows(rows_of(args.out)), paths, args) if args.keep else []
    commands = [*(commands_of(args.out) if args.keep else []), args.command]
    found = (row for path in paths for row in _rows(path, args))
    rows = sorted(logged(args.out, found, kept), key=lambda row: (row["dataset"], row["seed"]))
    note = (
        "`genes only`: correct.method=none. `correct`: the default. `balanced`: graph.balanced=true. Mixing: "
        "neighbours from other batches, over their number by chance."
    )
    write_page(args.out, "Donors", commands, conditions(), [note, "", *_tables(rows)])


if __name__ == "__main__":
    main()
