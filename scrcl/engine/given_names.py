"""Names that the user gave to clusters. They lie in OUT, with the clusters that they were given to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._crosstab import crosstab
from scrcl.errors import InputError, StoreError
from scrcl.io.text_tables import read_text_table
from scrcl.markers.artifacts import NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from scrcl.engine.outputs import Outputs
    from scrcl.typing import IntArray

__all__ = [
    "GIVEN_NAMES",
    "clusters_named",
    "keep_names",
    "lost_names",
    "names_given",
    "plain_names",
    "read_names",
    "shown_names",
]

GIVEN_NAMES = "names.npz"
"""File in OUT: names by cluster, and the cluster of each cell then."""

_MOST = 0.5
"""More than this share of a cluster's cells must have had a name for it to be carried over. It must also hold more than
this share of a cluster that had the name: of the parts of a divided cluster, one at most is still that cluster."""


def clusters_named(
    text: str, names: Sequence[str], *, what: str, also: Collection[str] = ()
) -> list[int]:
    """Return the clusters that a text means: one by its number, or all that have it as their name.

    Parameters
    ----------
    names
        Name of each cluster; its number where it has none.
    what
        What the text sets, for the message.
    also
        What else it may mean.

    Raises
    ------
    InputError
        There is no such cluster.
    """
    wanted = text.strip()
    if wanted.isdecimal() and int(wanted) < len(names):
        return [int(wanted)]
    same = [cluster for cluster, name in enumerate(names) if name == wanted]
    if not same:
        known = dict.fromkeys(name for i, name in enumerate(names) if name != str(i))
        more = f", or a name: {'; '.join(known)}" if known else ""
        more += f"; or a subcluster: {'; '.join(also)}" if also else ""
        message = (
            f"{what} must name a cluster of the run, 0 to {len(names) - 1}{more}; got {wanted!r}."
        )
        raise InputError(message)
    return same


def plain_names(run: Outputs, labels: IntArray) -> list[str]:
    """Return the name of each cluster; its number where it has none."""
    if run.has(NAMES):
        return list(map(str, run.open(NAMES)["name"]))
    return [str(i) for i in range(int(labels.max()) + 1)]


def shown_names(run: Outputs, labels: IntArray) -> list[str]:
    """Return how clusters are shown: their number, and their name if they have one."""
    names = enumerate(plain_names(run, labels))
    return [f"{i} {name}" if name != str(i) else str(i) for i, name in names]


class Given(NamedTuple):
    """Names that a user gives, by cluster and by subcluster. An empty name takes the name away."""

    clusters: dict[int, str]
    subclusters: dict[str, str]


def read_names(
    given: str | Path | Mapping[Any, str],
    clusters: Sequence[str],
    subclusters: Collection[str] = (),
) -> Given:
    """Return the names that a user gives.

    Parameters
    ----------
    given
        A table with columns ``cluster`` (or ``domain``) and ``name``, or a mapping of clusters to names.
    clusters
        Name of each cluster now; its number where it has none.
    subclusters
        The subclusters that there are, such as ``3_0``.

    Raises
    ------
    InputError
        The table cannot be read or lacks a column; a cluster does not exist or is named twice; or a name is no text.
    """
    pairs, where = _pairs_of(given)
    found = Given({}, {})
    for text, name in pairs:
        wanted = text.strip()
        if wanted in subclusters:
            _put(found.subclusters, wanted, name, where)
            continue
        for cluster in clusters_named(text, clusters, what=f"NAMES{where}", also=subclusters):
            _put(found.clusters, cluster, name, where)
    return found


def _put(names: dict[Any, str], key: int | str, name: str, where: str) -> None:
    if key in names:
        message = (
            f"NAMES{where} must name each cluster once; got {key} twice. Remove one of the two."
        )
        raise InputError(message)
    names[key] = name


def _pairs_of(given: str | Path | Mapping[Any, Any]) -> tuple[list[tuple[str, str]], str]:
    """Return clusters and names as texts, and where they are from, for messages."""
    if isinstance(given, Mapping):
        for cluster, name in given.items():
            if not isinstance(name, str):
                message = f"NAMES must be texts; got {name!r} for cluster {cluster}. An empty text takes the name away."
                raise InputError(message)
        return [(str(cluster), name.strip()) for cluster, name in given.items()], ""
    path = Path(given)
    table = read_text_table(path, what="NAMES")
    if "cluster" not in table.columns:
        table = table.rename(columns={"domain": "cluster"})  # what clusters of a tissue are called
    if not {"cluster", "name"} <= set(table.columns):
        message = (
            f"NAMES must have the columns cluster (or domain) and name; got {path} with "
            f"{', '.join(map(str, table.columns))}. Rename the columns."
        )
        raise InputError(message)
    return list(zip(table["cluster"], table["name"].str.strip(), strict=True)), f" ({path})"


def keep_names(out: Path, names: Mapping[int, str], labels: IntArray) -> None:
    """Keep names for clusters, over those that were kept before; an empty name takes the earlier one away."""
    merged = {**names_given(out, labels), **names}
    merged = {cluster: name for cluster, name in merged.items() if name}
    with atomic_path(out / GIVEN_NAMES) as partial, partial.open("wb") as file:
        np.savez(
            file,
            clusters=np.array(sorted(merged), np.int64),
            names=np.array([merged[cluster] for cluster in sorted(merged)], np.str_),
            labels=labels.astype(np.int32),
        )


def names_given(out: Path, labels: IntArray) -> dict[int, str]:
    """Return the names that the user gave, by cluster.

    Parameters
    ----------
    labels
        ndarray of int, shape (n_cells,): the clusters now. A cluster has the name that most of its cells had when
        names were given, if it holds most cells of a cluster that had this name then.
    """
    clusters, names, before = _kept(out)
    if not len(clusters) or len(before) != len(labels):
        return {}
    counts = crosstab(labels, before)
    sizes, sizes_before = counts.sum(axis=1), counts.sum(axis=0)
    found: dict[int, str] = {}
    for name in np.unique(names):
        named = clusters[names == name]
        is_made_of_it = counts[:, named].sum(axis=1) > _MOST * sizes
        holds_one = (counts[:, named] > _MOST * sizes_before[named]).any(axis=1)
        found |= dict.fromkeys(map(int, np.flatnonzero(is_made_of_it & holds_one)), str(name))
    return found


def lost_names(out: Path, labels: IntArray) -> list[str]:
    """Return the names that the user gave and that no cluster has now."""
    _, names, before = _kept(out)
    if len(before) != len(labels):
        return []
    return sorted(set(map(str, names)) - set(names_given(out, labels).values()))


def _kept(out: Path) -> tuple[IntArray, NDArray[np.str_], IntArray]:
    """Return the clusters that were named, their names, and the cluster of each cell then; empty if none were."""
    path = out / GIVEN_NAMES
    if not path.exists():
        return np.empty(0, np.int64), np.empty(0, np.str_), np.empty(0, np.int32)
    try:
        with np.load(path) as kept:
            return kept["clusters"], kept["names"], kept["labels"]
    except Exception as error:
        message = (
            f"{path} must hold the names that were given; got {type(error).__name__}. "
            "Delete it, and name the clusters again."
        )
        raise StoreError(message) from error
