"""The variation that the sets would choose as the default, and its gain on sets that were left out of the choice.

In each group of variations, including the default, the one with the best mean is chosen: by all sets, and for each set
by all others. The gain on the sets left out shows how much of the first gain would hold on new data.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from bench._frame.page import head
from bench.ablation.variations import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["choices"]


def choices(gains: pd.DataFrame, groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a table with a row for each group, and one for all groups together.

    Parameters
    ----------
    gains
        ARI minus that of the default: a row for each set, a column for each variation; NaN where it did not run. At
        least two sets.
    groups
        The names of the variations of each group, without the default.
    """
    all_names = list(dict.fromkeys(name for names in groups.values() for name in names))
    lines = head(
        "chosen among",
        "sets",
        "by all of them",
        "ARI minus the default's",
        "by all but one (times)",
        "ARI on that one",
    )
    asked = {**groups, **({"all": all_names} if len(groups) > 1 else {})}
    return lines + [line for one, names in asked.items() if (line := _chosen(gains, one, names))]


def _chosen(gains: pd.DataFrame, group: str, names: Iterable[str]) -> str | None:
    """Return the row of a group, over the sets that have all of it; None where these are fewer than two."""
    values = gains[[DEFAULT.name, *names]].dropna(axis="index")
    if len(values) < 2:
        return None
    best = values.mean().idxmax()
    left_out = {one: values.drop(index=one).mean().idxmax() for one in values.index}
    held = np.mean([values.loc[one, name] for one, name in left_out.items()])
    times = ", ".join(f"{name} ({n})" for name, n in Counter(left_out.values()).most_common())
    return (
        f"| {group} | {len(values)} | {best} | {values[best].mean():+.3f} | {times} | {held:+.3f} |"
    )
