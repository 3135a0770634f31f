"""Rows of the ablation as Markdown: means over sets beside the default, then ARI by set."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from bench.ablation_variations import DEFAULT

__all__ = ["tables"]

Rows = list[dict[str, Any]]


def tables(rows: Rows) -> list[str]:
    """Return both tables, sets with coordinates apart."""
    lines = []
    for spatial in (False, True):
        own = [row for row in rows if row["spatial"] is spatial]
        if own:
            lines += ["", "## Spatial sets" if spatial else "## Sets without coordinates", ""]
            lines += [*_means(own), "", *_by_set(own)]
    return lines


def _variations(rows: Rows) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["group"], row["variation"]) for row in rows))


def _values(rows: Rows, variation: str, name: str) -> dict[str, list[float]]:
    """Return one field over seeds, by set."""
    found = defaultdict(list)
    for row in rows:
        if row["variation"] == variation:
            found[row["dataset"]].append(row[name])
    return dict(sorted(found.items()))


def _averages(rows: Rows, variation: str, name: str = "ari") -> dict[str, float]:
    return {key: float(np.mean(values)) for key, values in _values(rows, variation, name).items()}


def _means(rows: Rows) -> list[str]:
    columns = ["group", "variation", "ACC", "NMI", "**ARI**", "spread over seeds"]
    columns += ["ARI beside the default, ± standard error over sets", "steps", "s to train"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for group, name in _variations(rows):
        acc, nmi, ari = (
            float(np.mean(list(_averages(rows, name, score).values())))
            for score in ("acc", "nmi", "ari")
        )
        spread = np.mean([np.std(values) for values in _values(rows, name, "ari").values()])
        told = [f"{acc:.3f}", f"{nmi:.3f}", f"**{ari:.3f}**", f"{spread:.3f}"]
        told.append("" if name == DEFAULT.name else _beside_default(rows, name))
        for field in ("steps", "train_seconds"):
            values = [value for of_set in _values(rows, name, field).values() for value in of_set]
            told.append(f"{np.median(values):.0f}")
        lines.append(f"| {group} | {name} | {' | '.join(told)} |")
    return lines


def _beside_default(rows: Rows, variation: str) -> str:
    """Return the mean over sets of the difference, paired by set, and its standard error."""
    default, own = _averages(rows, DEFAULT.name), _averages(rows, variation)
    apart = np.array([own[name] - default[name] for name in own])
    if len(apart) < 2:
        return f"{apart.mean():+.3f}"
    return f"{apart.mean():+.3f} ± {apart.std(ddof=1) / len(apart) ** 0.5:.3f}"


def _by_set(rows: Rows) -> list[str]:
    sets = sorted({row["dataset"] for row in rows})
    lines = [f"| ARI | {' | '.join(sets)} |", "|---" * (1 + len(sets)) + "|"]
    for _, name in _variations(rows):
        ari = _averages(rows, name)
        lines.append(f"| {name} | {' | '.join(f'{ari[one]:.3f}' for one in sets)} |")
    return lines
