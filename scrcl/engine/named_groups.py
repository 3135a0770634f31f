"""Groups of the cells of a finished run, as a user names them: a column of obs, and a pair of its groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scrcl.engine.arguments import shown
from scrcl.engine.given_names import plain_names
from scrcl.engine.stages.subclusters import SUB_KEY, given_names_of_subclusters, subclusters_of
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from scrcl.engine.open_run import OpenRun
    from scrcl.typing import IntArray

__all__ = ["Groups", "Pair", "groups_of", "names_of", "pair_of"]

Pair: TypeAlias = "tuple[int | str, int | str] | str"

MOST_GROUPS = 500
"""Groups of a column. A column with more is not one of groups."""


@dataclass(frozen=True)
class Groups:
    """Group of each retained cell (-1: none), and the names of the groups."""

    codes: IntArray
    names: Sequence[str]


def groups_of(obs: pd.DataFrame, by: str, *, argument: str = "by") -> Groups:
    """Return the groups of a column of obs.

    Parameters
    ----------
    argument
        The argument that names the column, for messages.

    Raises
    ------
    InputError
        There is no such column, it has numbers, or too many groups.
    """
    import pandas as pd

    if by not in obs:
        message = f"{argument} must be a column of obs; got {by!r}. There are: {', '.join(map(str, obs))}."
        raise InputError(message)
    column = obs[by]
    if pd.api.types.is_float_dtype(column):
        message = f"{argument} must be a column of groups; got {by!r}, which has numbers. Name a column of categories."
        raise InputError(message)
    found = column.astype("category").cat.remove_unused_categories()
    names = [str(name) for name in found.cat.categories]
    if len(names) > MOST_GROUPS:
        message = (
            f"{argument} must be a column with at most {MOST_GROUPS} groups; got {by!r} with {len(names):,}. "
            "Name another column."
        )
        raise InputError(message)
    return Groups(found.cat.codes.to_numpy(np.int64), names)


def names_of(run: OpenRun, by: str) -> dict[str, str]:
    """Return the name of each cluster and subcluster that is a group of the column ``by``; empty for other columns."""
    # Without subclusters, a column of that name is one of the input.
    if by != "scrcl" and not (by == SUB_KEY and subclusters_of(run)):
        return {}
    names = {str(i): name for i, name in enumerate(plain_names(run, run.labels))}
    return names if by == "scrcl" else {**names, **given_names_of_subclusters(run)}


def pair_of(run: OpenRun, groups: Groups, given: Pair, by: str) -> Groups:
    """Return the two groups alone. Clusters and subclusters can be given by their names, too: all that have one.

    Raises
    ------
    InputError
        The text or the two names do not mean two groups.
    """
    names = names_of(run, by)
    codes_of = {name: [code] for code, name in enumerate(groups.names)}
    for code, group in enumerate(groups.names):
        name = names.get(group, group)
        if name not in groups.names:
            codes_of.setdefault(name, []).append(code)
    if isinstance(given, str):
        pair = _split(given, codes_of)
    elif isinstance(given, Sequence | np.ndarray) and len(given) == 2:
        pair = str(given[0]), str(given[1])
    else:
        message = f"pair must name two groups, as in (3, 5); got {shown(given)}."
        raise InputError(message)
    for name in pair:
        if name not in codes_of:
            message = f"pair must name groups of {by}; got {name!r}. There are: {'; '.join([*codes_of][:50])}."
            raise InputError(message)
    if set(codes_of[pair[0]]) & set(codes_of[pair[1]]):
        other = "twice" if pair[0] == pair[1] else f"and {pair[1]!r}, which is the same"
        message = f"pair must name two groups; got {pair[0]!r} {other}."
        raise InputError(message)
    codes = np.full(len(groups.codes), -1, np.int64)
    for new, name in enumerate(pair):
        codes[np.isin(groups.codes, codes_of[name])] = new
    return Groups(codes, pair)


def _split(text: str, known: Collection[str]) -> tuple[str, str]:
    """Return the two groups of a text with a comma between them. Their names may have commas too."""
    commas = [at for at, character in enumerate(text) if character == ","]
    splits = [(text[:at].strip(), text[at + 1 :].strip()) for at in commas]
    meant = [pair for pair in splits if all(name in known for name in pair)]
    if not meant and len(splits) != 1:
        message = (
            f"pair must be two groups with a comma, as in 3,5; got {text!r}. "
            f"There are: {'; '.join([*known][:50])}."
        )
        raise InputError(message)
    return (meant or splits)[0]
