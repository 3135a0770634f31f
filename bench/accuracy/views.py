"""Can one method help the other: the embeddings of both in the final clustering, next to each alone and to neither.

``python -m bench.accuracy.views --data DIR --work FOLDER``

``vote`` reads no embedding. Here its representations are joined by the 30 leading components of one embedding, or of
both (``vote + scRCL``). The embeddings are also clustered alone, and by ``auto``, which reads one embedding and the
component scores; ``auto, both`` reads both embeddings side by side. Each way is scored at the number of types. Those
that count are scored at the number that they find too; their tree, cut (``cluster.also``), gives the number of types.
Nothing but the number and the scores comes from labels.

A choice among the ways by labels would be no honest score. So each set is also scored by the way that is best on the
mean of the other sets. ``--work`` keeps the embeddings, as ``STEM_METHOD_SEED.npy``.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.accuracy.cases import measured
from scrcl.cluster.agreement import MOST_COMPS, side_by_side
from scrcl.cluster.find import find_clusters
from scrcl.cluster.protocol import Representations, Spaces
from scrcl.cluster.settings import ClusterSettings
from scrcl.prep.artifacts import STATS
from scrcl.prep.scalings import median_depth_scores, residual_scores

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from bench._frame.labelled import Labelled
    from bench._frame.rows import Row

__all__ = ["best_on_others", "main"]

DEFAULT = "vote"
METHODS = {"scrcl": "scRCL", "scgpcl": "scGPCL"}
COUNTING = ("vote", "auto")
"""Algorithms that also find the number of clusters."""


class _Cells(NamedTuple):
    """What the cells of a set are clustered from."""

    types: Any
    scores: Any
    scalings: list[Any]
    embeddings: dict[str, Any]
    """By the name of the method, shape (n_cells, dim) each"""


def _cells(data: Labelled, seed: int, args: argparse.Namespace) -> _Cells:
    """Run each method whose embedding is not kept yet; return embeddings, component scores and other scalings."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder)
        for method in METHODS:
            kept = args.work / f"{data.name}_{method}_{seed}.npy"
            settings = [
                one for one in args.set if one.partition(".")[0] not in METHODS.keys() - {method}
            ]
            config = runs.config_of(settings, method=method, seed=seed, device="cpu")
            if not kept.exists():
                runs.run(data.path, out / method, config, until="embed")
                np.save(kept, runs.embedding(out / method))
            elif method == next(iter(METHODS)):
                runs.run(data.path, out / method, config, until="reduce")
            found[method] = np.load(kept)
        first = out / next(iter(METHODS))
        retained = runs.retained(first)
        totals = runs.opened(first).open(STATS).cell_counts[retained]
        logs = runs.log_values(first).astype(np.float32)
        scalings = [f(logs, totals, MOST_COMPS) for f in (median_depth_scores, residual_scores)]
        scores = np.array(runs.components(first))
    return _Cells(data.labels[retained], scores, scalings, found)


def _ways(cells: _Cells) -> Iterator[tuple[str, str, Spaces]]:
    """Yield the name of each way, its algorithm and what it reads."""
    views = {METHODS[name]: _leading(rows) for name, rows in cells.embeddings.items()}
    added = {"vote": [], **{f"vote + {name}": [rows] for name, rows in views.items()}}
    added["vote + both"] = list(views.values())
    for way, more in added.items():
        yield (
            way,
            "vote",
            Spaces(
                cells.scores,
                cells.scores,
                representations=_of_some([_leading(cells.scores), *cells.scalings, *more]),
            ),
        )
    for method, rows in cells.embeddings.items():
        name = METHODS[method]
        yield f"{name}, k-means", "kmeans", Spaces(rows)
        yield f"{name}, k-means of directions", "kmeans", Spaces(_directions(rows))
        yield f"{name}, auto", "auto", Spaces(rows, cells.scores)
    both = side_by_side(list(cells.embeddings.values()))
    yield "auto, both", "auto", Spaces(both, cells.scores)


def _of_some(representations: list[Any]) -> Callable[[Any], Representations]:
    return lambda some: Representations([rows[some] for rows in representations])


def _leading(rows: Any) -> Any:
    """Return the scores on the leading principal components: an embedding has no order of its columns."""
    centred = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    return np.ascontiguousarray(centred @ axes[:MOST_COMPS].T, np.float32)


def _directions(rows: Any) -> Any:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def _rows(data: Labelled, seed: int, args: argparse.Namespace) -> Iterator[Row]:
    """Yield the scores of each way, at the number of types and as found."""
    cells = _cells(data, seed, args)
    k = len(set(cells.types))
    for way, algorithm, spaces in _ways(cells):
        if args.ways is not None and way not in args.ways:
            continue
        counts = algorithm in COUNTING
        settings = ClusterSettings(algorithm=algorithm, also=(k,) if counts else ())
        clusters = find_clusters(spaces, None if counts else k, settings=settings, seed=seed)
        found = (
            {"K": clusters.extra_cuts[k], "found": clusters.labels}
            if counts
            else {"K": clusters.labels}
        )
        for at, labels in found.items():
            case = {"set": data.name, "seed": seed, "k": k, "way": way, "at": at}
            yield {**stamp(), **case, **measured(labels, cells.types)}


def best_on_others(scores: dict[str, dict[str, float]]) -> dict[str, tuple[str, float]]:
    """Return, for each set, the way with the best mean on the other sets, and its score on this one.

    ``scores`` are by way, then by set.
    """
    sets = list(next(iter(scores.values())))
    found = {}
    for left_out in sets:
        others = [name for name in sets if name != left_out]
        best = max(scores, key=lambda way: sum(scores[way][name] for name in others))
        found[left_out] = best, scores[best][left_out]
    return found


def _by_way(rows: list[Row], at: str, field: str = "ari") -> dict[str, dict[str, float]]:
    """Return the mean over seeds, by way and set."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["at"] == at:
            found.setdefault(row["way"], {}).setdefault(row["set"], []).append(row[field])
    return {
        way: {name: float(np.mean(each)) for name, each in own.items()}
        for way, own in found.items()
    }


def _tables(rows: list[Row]) -> list[str]:
    lines: list[str] = []
    for at, title in (("K", "At the number of types"), ("found", "At the number that is found")):
        scores = _by_way(rows, at)
        sets = list(next(iter(scores.values())))
        means = {way: float(np.mean(list(own.values()))) for way, own in scores.items()}
        body = [
            [way, *(f"{own[name]:.3f}" for name in sets), f"**{means[way]:.3f}**",
             f"{means[way] - means[DEFAULT]:+.3f}"]
            for way, own in scores.items()
        ]  # fmt: skip
        if len(sets) > 1:
            chosen = best_on_others(scores)
            mean = float(np.mean([score for _, score in chosen.values()]))
            body.append(
                ["best way on the other sets", *(f"{way}: {ari:.3f}" for way, ari in chosen.values()),
                 f"**{mean:.3f}**", f"{mean - means[DEFAULT]:+.3f}"]
            )  # fmt: skip
        lines += [f"### {title}", "", *table(["ARI", *sets, "mean", f"to {DEFAULT}"], body), ""]
    nmi, acc, ari = (_by_way(rows, "K", field) for field in ("nmi", "acc", "ari"))
    sets = list(next(iter(ari.values())))
    body = [
        [way, *(f"{nmi[way][s]:.3f} / {acc[way][s]:.3f} / {ari[way][s]:.3f}" for s in sets)]
        for way in ari
    ]
    return [*lines, "### NMI / ACC / ARI at the number of types", "", *table(["way", *sets], body)]


def main(arguments: list[str] | None = None) -> None:
    """Cluster every set in every way, and write the tables and their rows."""
    parser = parser_of("bench.accuracy.views", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps embeddings")
    parser.add_argument(
        "--ways",
        type=lambda text: [DEFAULT, *text.split(";")],
        help=f"some ways, as 'vote + scGPCL;vote + both', next to {DEFAULT}; all if not given",
    )
    args = parsed(parser, arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    cases = product(labelled_files(args.data, args.sets, spatial=False), args.seeds)
    found = (row for path, seed in cases for row in _rows(read_labelled(path), seed, args))
    rows = logged(args.out, found)
    ran = [f"scrcl ran with {', '.join(args.set)}.", ""] if args.set else []
    write_results(args, "Embeddings of both methods", [*ran, *_tables(rows)])


if __name__ == "__main__":
    main()
