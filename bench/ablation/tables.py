"""Rows of the ablation as Markdown: means over sets, gains over the default, ARI by set, and choices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench._frame.page import head, line
from bench.ablation.choice import choices
from bench.ablation.variations import DEFAULT

__all__ = ["tables"]

RUN = ["dataset", "seed"]
"""A variation is compared with the default on the same set and seed."""


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Return all tables; sets with coordinates have tables of their own."""
    lines = []
    table = pd.DataFrame(rows)
    for spatial, own in table.groupby("spatial"):
        gains = _gains(own)
        lines += ["", "## Spatial sets" if spatial else "## Sets without coordinates", ""]
        lines += [*_means(own, gains), "", *_by_set(own)]
        if len(gains) > 1:
            lines += ["", *choices(gains, _groups(own))]
    return lines


def _groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the names of the variations of each group, without the default."""
    varied = table[table["variation"] != DEFAULT.name]
    found = varied.groupby("group", sort=False)["variation"]
    return {str(group): list(names.unique()) for group, names in found}


def _gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return ARI minus that of the default with the same seed, means over seeds.

    A row for each set, a column for each variation.
    """
    ari = table.pivot_table(index=RUN, columns="variation", values="ari", sort=False)
    gains: pd.DataFrame = ari.sub(ari[DEFAULT.name], axis=0).groupby("dataset").mean()
    return gains


def _means(table: pd.DataFrame, gains: pd.DataFrame) -> list[str]:
    lines = head(
        "group",
        "variation",
        "seeds",
        "ACC",
        "NMI",
        "**ARI**",
        "spread over seeds",
        "ARI minus the default's with the same seeds, ± standard error over sets",
        "steps",
        "s to train",
    )
    for (group, name), own in table.groupby(["group", "variation"], sort=False):
        by_set = own.groupby("dataset")
        acc, nmi, ari = by_set[["acc", "nmi", "ari"]].mean().mean()
        spread = by_set["ari"].std(ddof=0).mean()
        steps, seconds = own[["steps", "train_seconds"]].median()
        gain = "" if name == DEFAULT.name else _with_error(gains[name].dropna().to_numpy())
        lines += line(
            group,
            name,
            own["seed"].nunique(),
            f"{acc:.3f}",
            f"{nmi:.3f}",
            f"**{ari:.3f}**",
            f"{spread:.3f}",
            gain,
            f"{steps:.0f}",
            f"{seconds:.0f}",
        )
    return lines


def _with_error(gains: Any) -> str:
    if len(gains) < 2:
        return f"{gains.mean():+.3f}"
    return f"{gains.mean():+.3f} ± {gains.std(ddof=1) / np.sqrt(len(gains)):.3f}"


def _by_set(table: pd.DataFrame) -> list[str]:
    ari = table.pivot_table(index="variation", columns="dataset", values="ari", sort=False)
    ari = ari.sort_index(axis="columns")
    lines = head("ARI", *ari.columns)
    for name, values in ari.iterrows():
        lines += line(name, *("" if np.isnan(value) else f"{value:.3f}" for value in values))
    return lines
