"""Names of clusters by a table of markers, against labels: share of cells whose cluster has the right name.

``python -m bench.genes.names --data DIR --markers FILE``

Each set is clustered with the default settings. Its clusters are named twice: by all types of the table for the
species, and with ``names.tissues``. A name is right for a cell if it is one of those for its label
(`bench.genes.right_names`), and coarse if it is of a group that the label belongs to: a monocyte is a myeloid cell.
Labels score, and nothing else.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_seeds, add_settings, parsed
from bench._frame.conditions import stamp
from bench._frame.labelled import read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.genes.named_sets import named_files, parser_of_named
from bench.genes.right_names import NAMED, is_named

if TYPE_CHECKING:
    from bench._frame.rows import Row
from bench.genes.right_names import Named

__all__ = ["main"]

_KEPT = ("name", "best", "score", "second", "second_score")
_SHARES = ("right", "coarse", "unknown")
_COLUMNS = (
    "set",
    "cluster",
    "name",
    "score",
    "second",
    "its score",
    "gap",
    "most cells",
    "right cells",
)


def _shares(names: list[str], crosstab: Any, about: Named) -> dict[str, Any]:
    """Return the shares of cells by their cluster's name, and the right cells of each cluster."""
    right, coarse = (
        np.array(
            [
                sum(int(n) for label, n in row.items() if is_named(name, str(label), patterns))
                for name, (_, row) in zip(names, crosstab.iterrows(), strict=True)
            ]
        )
        for patterns in (about.right, about.coarse)
    )
    sizes = crosstab.sum(axis=1).to_numpy()
    unknown = sizes[[name == "unknown" for name in names]].sum()
    return {
        "right": float(right.sum() / sizes.sum()),
        "coarse": float(coarse.sum() / sizes.sum()),
        "unknown": float(unknown / sizes.sum()),
        "right_cells": right.tolist(),
    }


def _measured(path: Path, seed: int, markers: Path, about: Named, settings: list[str]) -> list[Row]:
    import pandas as pd

    from scrcl.markers.artifacts import NAMES

    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        for tissues in (None, about.tissues):
            choice = {"table": str(markers), "species": about.species, "tissues": tissues}
            config = runs.config_of(settings, seed=seed, names=choice)
            start = None if tissues is None else "names"
            runs.run(path, out, config, start=start, until="names")
            found = runs.opened(out).open(NAMES)
            labels = read_labelled(path).labels.astype(str)[runs.retained(out)]
            crosstab = pd.crosstab(runs.labels(out), labels)
            most = crosstab.idxmax(axis=1)
            clusters = [
                {
                    **{key: row[key] for key in _KEPT},
                    "label": str(most[cluster]),
                    "n_label": int(crosstab.loc[cluster].max()),
                    "n_cells": int(crosstab.loc[cluster].sum()),
                }
                for cluster, row in enumerate(found.to_dict("records"))
            ]
            shares = _shares(found["name"].tolist(), crosstab, about)
            rows.append(
                {
                    "dataset": path.stem,
                    "seed": seed,
                    "tissues": tissues,
                    "clusters": clusters,
                    **shares,
                }
            )
    return rows


def _tables(rows: list[Row]) -> list[str]:
    body = []
    for name in dict.fromkeys(row["dataset"] for row in rows):
        cells: list[object] = [name, NAMED[name].tissues]
        for whole in (True, False):
            own: list[Any] = [
                row for row in rows if row["dataset"] == name and (row["tissues"] is None) == whole
            ]
            cells += [f"{np.mean([row[key] for row in own]):.3f}" for key in _SHARES]
        body.append(cells)
    columns = [f"{used}: {share}" for used in ("all", "tissues") for share in _SHARES]
    shares = table(["set", "tissues", *columns], body)
    first: list[Any] = [
        row for row in rows if row["tissues"] is not None and row["seed"] == rows[0]["seed"]
    ]
    lines = [
        [
            row["dataset"],
            cluster,
            each["name"],
            f"{each['score']:.1f}",
            each["second"],
            f"{each['second_score']:.1f}",
            f"{each['score'] - each['second_score']:.1f}",
            f"{each['label']} {each['n_label']}/{each['n_cells']}",
            row["right_cells"][cluster],
        ]
        for row in first
        for cluster, each in enumerate(row["clusters"])
    ]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in rows))
    return [
        f"Shares of cells, mean over seeds {seeds}, by all tissues of the table and by those named.",
        "",
        *shares,
        "",
        f"Clusters with the tissues named, seed {rows[0]['seed']}:",
        "",
        *table(_COLUMNS, lines),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure on every set that has accepted names, and write the page and its rows."""
    parser = parser_of_named("bench.genes.names", __doc__)
    add_seeds(parser, [0, 1, 2])
    add_settings(parser)
    args = parsed(parser, arguments)
    found = (
        {**stamp(), **row}
        for path, seed in product(named_files(args), args.seeds)
        for row in _measured(path, seed, args.markers, NAMED[path.stem], args.set)
    )
    rows = logged(args.out, found)
    write_results(args, "Names of clusters", _tables(rows))


if __name__ == "__main__":
    main()
