"""What the sets would choose as the default, and what that is worth on a set that had no say.

In each group of variations, the default among them, the one with the best mean is chosen: by all sets, and, for each
set, by all others. The mean over the sets of the second, each on the set left out, says how much of the first would
hold elsewhere.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from bench.ablation_variations import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["choices"]


def choices(apart: pd.DataFrame, groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a table with a line a group, and one for all groups together.

    Parameters
    ----------
    apart
        ARI beside the default: a row a set, a column a variation; NaN where it did not run. At least two sets.
    groups
        The names of the variations of each group, without the default.
    """
    all_names = list(dict.fromkeys(name for names in groups.values() for name in names))
    lines = [
        "| chosen among | by all sets | ARI there, beside the default | by all but one (times) | ARI on that one |",
        "|---|---|---|---|---|",
    ]
    lines += [_chosen(apart, group, list(names)) for group, names in groups.items()]
    return [*lines, _chosen(apart, "all", all_names)] if len(groups) > 1 else lines


def _chosen(apart: pd.DataFrame, group: str, names: list[str]) -> str:
    """Return the line of a group; a variation that lacks a set is not chosen."""
    values = apart[[DEFAULT.name, *names]].dropna(axis="columns")
    best = values.mean().idxmax()
    left_out = {one: values.drop(index=one).mean().idxmax() for one in values.index}
    held = np.mean([values.loc[one, name] for one, name in left_out.items()])
    times = ", ".join(f"{name} ({n})" for name, n in Counter(left_out.values()).most_common())
    return f"| {group} | {best} | {values[best].mean():+.3f} | {times} | {held:+.3f} |"
