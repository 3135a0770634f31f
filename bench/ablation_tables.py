"""Rows of the ablation as Markdown: means over sets beside the default, ARI by set, and what sets would choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.ablation_choice import choices
from bench.ablation_variations import DEFAULT
from bench.markdown import head, line

__all__ = ["tables"]

RUN = ["dataset", "seed"]
"""What a variation shares with the default that it is compared with."""


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Return all tables, those of sets with coordinates apart."""
    lines = []
    table = pd.DataFrame(rows)
    for spatial, own in table.groupby("spatial"):
        apart = _beside_default(own)
        lines += ["", "## Spatial sets" if spatial else "## Sets without coordinates", ""]
        lines += [*_means(own, apart), "", *_by_set(own)]
        if len(apart) > 1:
            lines += ["", *choices(apart, _groups(own))]
    return lines


def _groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the names of the variations of each group, without the default."""
    varied = table[table["variation"] != DEFAULT.name]
    found = varied.groupby("group", sort=False)["variation"]
    return {str(group): list(names.unique()) for group, names in found}


def _beside_default(table: pd.DataFrame) -> pd.DataFrame:
    """Return ARI less that of the default with the same seed, means over seeds: a row a set, a column a variation."""
    ari = table.pivot_table(index=RUN, columns="variation", values="ari", sort=False)
    apart: pd.DataFrame = ari.sub(ari[DEFAULT.name], axis=0).groupby("dataset").mean()
    return apart


def _means(table: pd.DataFrame, apart: pd.DataFrame) -> list[str]:
    lines = head(
        "group",
        "variation",
        "seeds",
        "ACC",
        "NMI",
        "**ARI**",
        "spread over seeds",
        "ARI beside the default with the same seeds, ± standard error over sets",
        "steps",
        "s to train",
    )
    for (group, name), own in table.groupby(["group", "variation"], sort=False):
        by_set = own.groupby("dataset")
        acc, nmi, ari = by_set[["acc", "nmi", "ari"]].mean().mean()
        spread = by_set["ari"].std(ddof=0).mean()
        steps, seconds = own[["steps", "train_seconds"]].median()
        beside = "" if name == DEFAULT.name else _with_error(apart[name].dropna().to_numpy())
        lines += line(
            group,
            name,
            own["seed"].nunique(),
            f"{acc:.3f}",
            f"{nmi:.3f}",
            f"**{ari:.3f}**",
            f"{spread:.3f}",
            beside,
            f"{steps:.0f}",
            f"{seconds:.0f}",
        )
    return lines


def _with_error(apart: Any) -> str:
    if len(apart) < 2:
        return f"{apart.mean():+.3f}"
    return f"{apart.mean():+.3f} ± {apart.std(ddof=1) / np.sqrt(len(apart)):.3f}"


def _by_set(table: pd.DataFrame) -> list[str]:
    ari = table.pivot_table(index="variation", columns="dataset", values="ari", sort=False)
    ari = ari.sort_index(axis="columns")
    lines = head("ARI", *ari.columns)
    for name, values in ari.iterrows():
        lines += line(name, *("" if np.isnan(value) else f"{value:.3f}" for value in values))
    return lines
