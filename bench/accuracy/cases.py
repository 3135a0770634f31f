"""The scores of one method on one set with one seed, and means over many of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.rows import Row, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "ORACLE",
    "OURS",
    "RARE",
    "Case",
    "best_f1",
    "by_set",
    "by_set_paired",
    "measured",
    "read_cases",
    "spread",
    "to_row",
]

OURS, ORACLE = "scrcl", "scrcl_oracle"
RARE = (1, 3)
"""A type is rare below so many percent of the cells; rare types are counted for each of these bounds."""
FOUND_F1 = 0.5
"""A type is found if some cluster has at least this F1 with it."""
SCORES = ("acc", "nmi", "ari", "macro_f1")


@dataclass(frozen=True)
class Case:
    """The scores and the cost of one method on one set with one seed.

    ``rare`` and ``rare_found`` are numbers of types, one for each bound in `RARE`. ``auto_clusters`` and ``auto_ari``
    are those of scrcl without the number of classes. ``step`` is the step that the labels chose for the oracle.
    ``by_algorithm`` holds ACC, NMI and ARI of other final clusterings of the same embedding, at the number of classes.
    """

    dataset: str
    spatial: bool
    n_cells: int
    k: int
    method: str
    seed: int
    acc: float
    nmi: float
    ari: float
    macro_f1: float
    n_clusters: int
    rare: tuple[int, ...]
    rare_found: tuple[int, ...]
    seconds: float
    peak_rss_bytes: int
    commit: str
    settings: list[str] = field(default_factory=list)
    auto_clusters: int | None = None
    auto_ari: float | None = None
    step: int | None = None
    by_algorithm: dict[str, list[float]] = field(default_factory=dict)


def measured(clusters: Any, labels: Any) -> dict[str, Any]:
    """Return the fields of a `Case` that depend on clusters and labels, both of shape (n_cells,)."""
    from scrcl.engine.evaluate import score

    scores = score(clusters, labels)
    sizes, best = best_f1(clusters, labels)
    is_rare = [sizes < len(labels) * percent / 100 for percent in RARE]
    return {
        **{name: scores[name] for name in SCORES},
        "n_clusters": int(scores["n_clusters"]),
        "rare": tuple(int(few.sum()) for few in is_rare),
        "rare_found": tuple(int((best[few] >= FOUND_F1).sum()) for few in is_rare),
    }


def best_f1(clusters: Any, labels: Any) -> tuple[Any, Any]:
    """Return the cells of each type, and the largest F1 that any cluster has with it."""
    import pandas as pd

    table = pd.crosstab(np.asarray(labels), np.asarray(clusters)).to_numpy()
    sizes = table.sum(axis=1)
    f1 = 2 * table / (sizes[:, None] + table.sum(axis=0)[None, :])
    return sizes, f1.max(axis=1)


def to_row(case: Case) -> Row:
    """Return a case as a row."""
    return asdict(case)


def read_cases(path: Path) -> list[Case]:
    """Return the cases of a file that an earlier run wrote.

    Raises
    ------
    SystemExit
        The file is missing, or has rows of another kind.
    """
    known = {one.name for one in fields(Case)}
    optional = {"settings", "auto_clusters", "auto_ari", "step", "by_algorithm"}
    needed = {name for name in known if name not in optional}
    rows = read_rows(path)
    for row in rows:
        if not needed <= row.keys() <= known:
            odd = sorted((needed - row.keys()) | (row.keys() - known))
            message = (
                f"--cases must have the fields of this version; {path} differs in {', '.join(odd)}. "
                "Run them again."
            )
            raise SystemExit(message)
    lists = ("rare", "rare_found")
    return [Case(**(row | {name: tuple(row[name]) for name in lists})) for row in rows]


def by_set(cases: Iterable[Case], method: str, name: str = "ari") -> dict[str, float]:
    """Return the mean over seeds of one field, by set."""
    return {dataset: float(np.mean(values)) for dataset, values in _values(cases, method, name)}


def by_set_paired(
    cases: list[Case], one: str, other: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the ARI by set of two methods, for the seeds that both have."""
    runs = [{(c.dataset, c.seed) for c in cases if c.method == method} for method in (one, other)]
    shared = [case for case in cases if (case.dataset, case.seed) in runs[0] & runs[1]]
    return by_set(shared, one), by_set(shared, other)


def spread(cases: Iterable[Case], method: str, name: str = "ari") -> float:
    """Return the standard deviation of one field over seeds, as a mean over sets."""
    return float(np.mean([np.std(values) for _, values in _values(cases, method, name)]))


def _values(cases: Iterable[Case], method: str, name: str) -> list[tuple[str, list[float]]]:
    found = defaultdict(list)
    for case in cases:
        if case.method == method:
            found[case.dataset].append(getattr(case, name))
    return sorted(found.items())
