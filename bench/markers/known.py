"""How many of the first markers of each labelled type are known ones, by three rules for common genes.

``python -m bench.markers.known --data DIR --markers FILE``

Types are the groups that are compared, so no clustering enters. Known markers of a type are the genes of the table for
the names that are right for its label (`bench.genes.right_names`), as far as the data has them. The rules:

- ``all after``: genes that more than 90% of the other cells express come after all others, as they once did;
- ``default``: the same, but for those with a log2 fold change of 2 or more;
- ``none``: no gene is common.

For each rule, means over the types: known ones among the first 10 and 20 genes of the short lists of the report; the
share of the known markers in the 100 genes of ``markers.csv``; ribosomal, mitochondrial and housekeeping genes among
its first 20. And the precision and the recall that the table of names shows, and the share of types with a right name.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import parsed
from bench._frame.labelled import LABELS
from bench._frame.page import table
from bench.genes.named_sets import parser_of_named, write_named
from bench.genes.right_names import NAMED, is_named
from bench.markers.agreement import codes_of

if TYPE_CHECKING:
    from bench._frame.rows import Row
    from scrcl.engine.compare_genes import Compared

__all__ = ["RULES", "compared_types", "main"]

RULES: dict[str, dict[str, float]] = {
    "all after": {"common_fold_change": 1e9},
    "default": {},
    "none": {"max_share_out": 1.0},
}
"""Settings of the stage ``markers``."""

_MEASURES = (
    "known of 10", "known of 20", "found of known", "common kinds of 20", "precision", "recall", "named right",
)  # fmt: skip
_SHORT = 10, 20


def compared_types(path: Path) -> tuple[Compared, Any, list[str]]:
    """Return all genes of all types, var, and the label of each type."""
    import anndata

    from scrcl.engine.compare_genes import compared
    from scrcl.engine.stages.markers import MarkersSettings
    from scrcl.io.open import open_input
    from scrcl.io.stream import Reading
    from scrcl.prep.artifacts import STATS

    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(path, out, runs.config_of(), until="stats")
        stats = runs.opened(out).open(STATS)
        matrix = open_input([path], layer=None, join="inner", scratch=Path(folder))
        labels = np.asarray(anndata.read_h5ad(path, backed="r").obs[LABELS], str)
        codes = codes_of(labels, stats.retained)
        found = compared(
            matrix, stats, codes, MarkersSettings(), block_rows=2048, reading=lambda: Reading(1)
        )
        names = [str(labels[np.argmax(codes == code)]) for code in range(int(codes.max()) + 1)]
        return found, matrix.var, names


def _measured(path: Path, markers: Path) -> list[Row]:
    from scrcl.engine.stages.markers import MarkersSettings
    from scrcl.engine.stages.names import NamesSettings
    from scrcl.markers.listed import ListedGenes, short_list, shown_genes
    from scrcl.markers.names import gene_names, name_clusters
    from scrcl.markers.ranking import marker_table

    about = NAMED[path.stem]
    found, var, labels = compared_types(path)
    settings = NamesSettings(table=markers, species=about.species, tissues=about.tissues)
    sets, listed = settings.sets(), ListedGenes.of_var(var)
    place = gene_names(var, sets)
    position = {str(name): i for i, name in enumerate(listed.names)}
    rows: list[Row] = []
    for name, changes in RULES.items():
        rule = MarkersSettings(**changes).rule()
        genes = marker_table(found.scores, listed, n_top=100, rule=rule)
        of_type = [
            [position[gene] for gene in each["gene"]] for _, each in genes.groupby("cluster")
        ]
        names = name_clusters(
            found.profiles, sets, place, min_score=settings.min_score, markers=of_type
        )
        short = short_list(genes)
        for code, label in enumerate(labels):
            pattern = about.right.get(label)
            known = {
                place.position[gene]
                for each in sets
                for gene in each.genes
                if pattern and gene in place.position and re.search(pattern, each.name)
            }
            if not known:
                continue
            own = short[short["cluster"] == code]
            first = [position[gene] for gene in own["gene"]]
            kinds = genes["kind"][(genes["cluster"] == code) & (genes["rank"] < _SHORT[1])]
            values = (
                *(float(np.mean([gene in known for gene in first[:n]])) for n in _SHORT),
                len(known & set(of_type[code])) / len(known),
                int((kinds != "").sum()),
                names[code].precision,
                names[code].recall,
                float(is_named(names[code].name, label, about.right)),
            )
            rows.append(
                {
                    "dataset": path.stem,
                    "type": label,
                    "rule": name,
                    **dict(zip(_MEASURES, values, strict=True)),
                    "first": shown_genes(own[own["rank"] < _SHORT[0]]),
                }
            )
    return rows


def _tables(rows: list[Row]) -> list[str]:
    def means(own: list[Any]) -> list[str]:
        return [f"{np.mean([row[name] for row in own]):.3f}" for name in _MEASURES]

    sets = list(dict.fromkeys(row["dataset"] for row in rows))
    body: list[list[object]] = []
    for name in sets:
        for rule in RULES:
            own = [row for row in rows if row["dataset"] == name and row["rule"] == rule]
            body.append([name, len(own), rule, *means(own)])
    for rule in RULES:
        lines = [line[3:] for line in body if line[2] == rule]
        mean = np.array(lines, float).mean(axis=0)
        body.append(["mean of sets", "", rule, *(f"{value:.3f}" for value in mean)])
    changed = []
    for row in rows:
        if row["rule"] == "all after":
            default, none = (
                _of(rows, row["dataset"], row["type"], rule) for rule in ("default", "none")
            )
            if default != row["first"]:
                new = [gene for gene in default if gene not in row["first"]]
                more = [gene for gene in none if gene not in default]
                changed.append([row["dataset"], row["type"], ", ".join(new), ", ".join(more)])
    heads = "set", "type", "new among the first ten by default", "further ones without a rule"
    return [
        *table(("set", "types", "rule", *_MEASURES), body),
        "",
        "Types whose first ten genes change:",
        "",
        *table(heads, changed),
    ]


def _of(rows: list[Row], name: str, label: str, rule: str) -> list[str]:
    wanted: tuple[object, ...] = name, label, rule
    return next(
        list(row["first"]) for row in rows if (row["dataset"], row["type"], row["rule"]) == wanted
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure on every set that has accepted names, and write the page and its rows."""
    args = parsed(parser_of_named("bench.markers.known", __doc__), arguments)
    write_named(args, "Known markers among the first genes", _measured, _tables)


if __name__ == "__main__":
    main()
