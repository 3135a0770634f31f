"""Gene graphs: how far the sketch agrees with all cells, and each of them with itself on other cells.

``python -m bench.genes --data DIR --out bench/results/NAME.md``

No label is read. Of each set: the share of a gene's neighbours on the sketch that are its neighbours over all cells (by
the Gram matrix), and the share that two halves of the cells, drawn at random, agree on; the largest degree tells hubs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bench._frame.process import commit
from scrcl._random import stream
from scrcl.graph.genes import GeneMetric, exact_neighbors, gene_graph, overlap, sketched_neighbors
from scrcl.prep.pca import fit_pca

__all__ = ["compare", "table"]

_MEANING = (
    "Commit {commit}; {k} neighbours of each of the genes that a run chooses. In each cell: share of the neighbours "
    "that are those over all cells, share that two halves of the cells agree on, largest degree."
)

METRICS: tuple[GeneMetric, ...] = get_args(GeneMetric)


def _log_values(path: Path) -> Any:
    """Return the log values of the genes that a run chooses: CSR, cells by genes."""
    from scipy import sparse

    from scrcl.engine.config import RunConfig
    from scrcl.engine.pipeline import run_pipeline
    from scrcl.prep.feature_store import FeatureStore

    with tempfile.TemporaryDirectory(prefix="scrcl-genes-") as folder:
        run_pipeline([path], Path(folder) / "out", RunConfig(), until="features")
        store = FeatureStore.open(Path(folder) / "out" / "stages" / "features")
        return sparse.vstack([rows for _, rows in store], format="csr").astype(np.float64)


def _neighbours(x: Any, k: int, metric: GeneMetric, comps: list[int]) -> dict[str, Any]:
    """Return neighbours over all cells, and on the sketch of each number of components."""
    gram, sums, n = (x.T @ x).toarray(), np.asarray(x.sum(axis=0)).ravel(), x.shape[0]
    found = {"all cells": exact_neighbors(gram, sums, n, k, metric=metric)}
    for wanted in comps:
        pca = fit_pca(gram, sums, n, n_comps=min(wanted, n - 1, len(sums)))
        found[f"sketch of {wanted}"] = sketched_neighbors(pca, n, k, metric=metric)
    return found


def compare(x: Any, *, k: int, comps: list[int], seed: int = 0) -> list[dict[str, Any]]:
    """Return a row a metric and way of comparing genes."""
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
                "max_degree": int(gene_graph(ids).degrees.max()),
            }
            for by, ids in whole.items()
        ]
    return rows


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: a row a set and metric; each cell agreement, halves' agreement, largest degree."""
    ways = list(dict.fromkeys(row["by"] for one in found.values() for row in one["rows"]))
    lines = [f"| set | cells | genes | metric | {' | '.join(ways)} |"]
    lines.append("|---|---:|---:|---|" + "---|" * len(ways))
    for name, one in found.items():
        for metric in METRICS:
            cells = [
                f"{row['agrees']:.2f}, {row['halves_agree']:.2f}, {row['max_degree']}"
                for row in one["rows"]
                if row["metric"] == metric
            ]
            lines.append(
                f"| {name} | {one['n_cells']:,} | {one['n_genes']:,} | {metric} | {' | '.join(cells)} |"
            )
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Compare on every set; the report is written anew after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of .h5ad files")
    parser.add_argument("--comps", default="50,100", help="components of the sketch")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file, a .json beside it")
    args = parser.parse_args(arguments)
    told = " ".join(sys.argv[1:] if arguments is None else arguments)
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(args.data.glob("*.h5ad")):
        x = _log_values(path)
        rows = compare(x, k=args.k, comps=[int(part) for part in args.comps.split(",")])
        found[path.stem] = {"n_cells": x.shape[0], "n_genes": x.shape[1], "rows": rows}
        lines = [f"# Gene graphs, {time.strftime('%Y-%m-%d')}", ""]
        lines += [f"`python -m bench.genes {told}`", ""]
        lines += [_MEANING.format(commit=commit(), k=args.k), "", *table(found)]
        text = "\n".join(lines) + "\n"
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
        record = {"commit": commit(), "sets": found}
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        print(*rows, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
