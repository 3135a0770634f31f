"""Gene graphs: agreement of the sketch with all cells, and of two halves of the cells with each other.

``python -m bench.genes --data DIR``

No label is used. For each set: the share of a gene's neighbours on the sketch that are its neighbours over all cells
(by the Gram matrix); the share that two random halves of the cells agree on; and the largest degree, which is high if
there are hubs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, numbers, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import labelled_files
from bench._frame.page import table, write_results
from bench._frame.rows import write_rows
from scrcl import RunConfig
from scrcl._random import stream
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.genes import GeneMetric, exact_neighbors, overlap, sketched_neighbors
from scrcl.prep.pca import fit_pca

__all__ = ["METRICS", "main"]

_NOTES = (
    "{k} neighbours of each of the genes that a run selects. In each field: share of the neighbours that are those "
    "over all cells, share that two halves of the cells agree on, largest degree."
)

METRICS: tuple[GeneMetric, ...] = get_args(GeneMetric)


def _log_values(path: Path) -> Any:
    """Return the log values of the genes that a run selects: CSR, cells by genes."""
    with tempfile.TemporaryDirectory(prefix="scrcl-genes-") as folder:
        runs.run(path, Path(folder), RunConfig(), until="features")
        return runs.log_values(Path(folder))


def _neighbours(x: Any, k: int, metric: GeneMetric, comps: list[int]) -> dict[str, Any]:
    """Return neighbours over all cells, and on the sketch of each number of components."""
    gram, sums, n = (x.T @ x).toarray(), np.asarray(x.sum(axis=0)).ravel(), x.shape[0]
    found = {"all cells": exact_neighbors(gram, sums, n, k, metric=metric)}
    for wanted in comps:
        pca = fit_pca(gram, sums, n, n_comps=min(wanted, n - 1, len(sums)))
        found[f"sketch of {wanted}"] = sketched_neighbors(pca, n, k, metric=metric)
    return found


def _compare(x: Any, *, k: int, comps: list[int], seed: int = 0) -> list[dict[str, Any]]:
    """Return a row for each metric and each source of the neighbours: all cells, or a sketch."""
    half = stream(seed, "bench.genes").permutation(x.shape[0]) < x.shape[0] // 2
    rows = []
    for metric in METRICS:
        whole, one, other = (_neighbours(part, k, metric, comps) for part in (x, x[half], x[~half]))
        rows += [
            {
                "metric": metric,
                "by": by,
                "agrees": overlap(ids, whole["all cells"]),
                "halves_agree": overlap(one[by], other[by]),
                "max_degree": int(symmetric_graph(ids).degrees.max()),
            }
            for by, ids in whole.items()
        ]
    return rows


def _genes_table(sets: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each set and metric: agreement, agreement of halves, largest degree."""
    sources = list(dict.fromkeys(row["by"] for one in sets for row in one["rows"]))
    lines = []
    for one in sets:
        for metric in METRICS:
            cells = [
                f"{row['agrees']:.2f}, {row['halves_agree']:.2f}, {row['max_degree']}"
                for row in one["rows"]
                if row["metric"] == metric
            ]
            sizes = [f"{one['n_cells']:,}", f"{one['n_genes']:,}"]
            lines.append([one["dataset"], *sizes, metric, *cells])
    return table(["set", "cells", "genes", "metric", *sources], lines)


def main(arguments: list[str] | None = None) -> None:
    """Compare on every set; the page is written after each."""
    parser = parser_of("bench.genes", __doc__)
    add_data(parser)
    parser.add_argument("--comps", type=numbers, default=[50, 100], help="components of the sketch")
    parser.add_argument("--k", type=int, default=5)
    args = parsed(parser, arguments)
    sets: list[dict[str, Any]] = []
    for path in labelled_files(args.data, args.sets):
        x = _log_values(path)
        rows = _compare(x, k=args.k, comps=args.comps)
        sizes = {"n_cells": x.shape[0], "n_genes": x.shape[1]}
        sets.append({"dataset": path.stem, **stamp(), **sizes, "rows": rows})
        write_rows(args.out, sets)
        body = [_NOTES.format(k=args.k), "", *_genes_table(sets)]
        write_results(args, "Gene graphs", body)
        print(*rows, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
