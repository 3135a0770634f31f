"""How often a note says that a cluster may hold several types: of clusters of one type, and of two that are merged.

``python -m bench.genes.mixed --data DIR --markers FILE``

Types are the clusters, so no clustering enters. Of one type: all types that have a right name in the table. Of two:
pairs of types with different right names, both named rightly when apart, whose sizes are within a factor of two; the
mean profile of both takes their place among the other types. The note (`scrcl.markers.names.Name.may_be_mixed`) names
the second best type, so the table also shows how often the best two names are those of the two types.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.arguments import parsed
from bench._frame.page import table
from bench.genes.named_sets import parser_of_named, write_named
from bench.genes.right_names import NAMED, is_named
from bench.markers.known import compared_types

if TYPE_CHECKING:
    from pathlib import Path

    from bench._frame.rows import Row
    from scrcl.markers.profiles import Profiles

__all__ = ["main"]

_MOST_TIMES = 2
"""Of two types: the larger has at most so many times the cells of the smaller."""


def _merged(profiles: Profiles, one: int, other: int) -> Profiles:
    """Return profiles in which two clusters are one, the last."""
    from dataclasses import replace

    pair = [one, other]
    cells = profiles.cells[pair]
    kept = np.setdiff1d(np.arange(len(profiles.cells)), pair)

    def joined(values: Any) -> Any:
        mean = np.average(values[:, pair], axis=1, weights=cells)
        return np.column_stack([values[:, kept], mean]).astype(np.float32)

    return replace(
        profiles,
        cells=np.append(profiles.cells[kept], cells.sum()),
        mean=joined(profiles.mean),
        share=joined(profiles.share),
    )


def _measured(path: Path, markers: Path) -> list[Row]:
    from scrcl.engine.stages.names import NamesSettings
    from scrcl.markers.names import gene_names, name_clusters

    about = NAMED[path.stem]
    found, var, labels = compared_types(path)
    settings = NamesSettings(table=markers, species=about.species, tissues=about.tissues)
    sets = settings.sets()
    place = gene_names(var, sets)

    def named(profiles: Profiles) -> Any:
        none: list[list[int]] = [[] for _ in profiles.cells]
        return name_clusters(profiles, sets, place, min_score=settings.min_score, markers=none)

    def is_right(name: str, code: int) -> bool:
        return is_named(name, labels[code], about.right)

    def row(codes: tuple[int, ...], name: Any) -> Row:
        return {
            "dataset": path.stem,
            "types": [labels[code] for code in codes],
            "best": name.best,
            "second": name.second,
            "score": name.score,
            "second_score": name.second_score,
            "shared": name.shared,
            "is_noted": name.may_be_mixed,
            "both": all(any(is_right(n, code) for n in (name.best, name.second)) for code in codes),
        }

    apart, sizes = named(found.profiles), found.profiles.cells
    rows = [row((code,), apart[code]) for code, label in enumerate(labels) if label in about.right]
    right = [code for code in range(len(labels)) if is_right(apart[code].name, code)]
    for one, other in combinations(right, 2):
        are_kindred = is_right(apart[one].name, other) or is_right(apart[other].name, one)
        few, many = sorted((sizes[one], sizes[other]))
        if not are_kindred and many <= _MOST_TIMES * few:
            rows.append(row((one, other), named(_merged(found.profiles, one, other))[-1]))
    return rows


def _tables(rows: list[Row]) -> list[str]:
    body: list[list[object]] = []
    for name in [*dict.fromkeys(row["dataset"] for row in rows), None]:
        own: list[Any] = [row for row in rows if name in (None, row["dataset"])]
        one, two = ([row for row in own if len(row["types"]) == n] for n in (1, 2))
        noted = [sum(row["is_noted"] for row in each) for each in (one, two)]
        both = sum(row["both"] for row in two)
        body.append([name or "all", len(one), noted[0], len(two), noted[1], both])
    heads = "set", "of one type", "noted", "of two types", "noted", "best two names are theirs"
    return table(heads, body)


def main(arguments: list[str] | None = None) -> None:
    """Measure on every set that has accepted names, and write the page and its rows."""
    args = parsed(parser_of_named("bench.genes.mixed", __doc__), arguments)
    write_named(args, "Notes on clusters of several types", _measured, _tables)


if __name__ == "__main__":
    main()
