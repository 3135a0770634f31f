"""How well a space joins batches and keeps types, by scib-metrics, where that is installed.

Every space is scored alike: 90 nearest neighbours by Euclidean distance, found exactly.

References
----------
Luecken et al.: Benchmarking atlas-level data integration in single-cell genomics. Nature Methods 19 (2022), 41-50.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench._frame.rows import Row

__all__ = ["LACKING", "SCORES", "Scored", "space_scores", "spaces_scored"]

SCORES = ("iLISI", "cLISI", "isolated labels", "silhouette")
"""Batches mix (iLISI), and types are apart (the others); from 0 to 1, the more the better."""

LACKING = "iLISI and the scores of types are left out: scib-metrics is not installed (pip install '.[peers]')."

_N_NEIGHBORS = 90


class Scored(NamedTuple):
    """A space, the family, set and way that it is of, and its scores by name."""

    family: str
    dataset: str
    way: str
    space: str
    scores: dict[str, float]


def space_scores(points: Any, batches: Any, types: Any) -> dict[str, float]:
    """Return the scores of one space by name; none where scib-metrics is not installed.

    Parameters
    ----------
    points
        Shape (n_cells, n_dims). Or ids of neighbours, of int: a graph, in which all of them are equally near. Then
        scores that need points are left out.
    batches, types
        Of each cell.
    """
    if find_spec("scib_metrics") is None:
        return {}
    _, batch_codes = np.unique(np.asarray(batches).astype(str), return_inverse=True)
    _, type_codes = np.unique(np.asarray(types).astype(str), return_inverse=True)
    if np.issubdtype(np.asarray(points).dtype, np.integer):
        values = _effective(points, batch_codes), 1 - _effective(points, type_codes)
    else:
        values = _by_scib(points, batch_codes, type_codes)
    return {name: float(value) for name, value in zip(SCORES, values, strict=False)}


def _by_scib(points: Any, batch_codes: Any, type_codes: Any) -> tuple[Any, ...]:
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    ids, distances = _nearest(points)
    near = NeighborsResults(indices=ids, distances=distances)
    return (
        scib_metrics.ilisi_knn(near, batch_codes),
        scib_metrics.clisi_knn(near, type_codes),
        scib_metrics.isolated_labels(points, type_codes, batch_codes),
        scib_metrics.silhouette_label(points, type_codes),
    )


def _effective(ids: Any, codes: Any) -> float:
    """Return the median inverse Simpson index of codes among neighbours that count alike, scaled to 0 to 1."""
    n = int(codes.max()) + 1
    shares = np.stack([(codes[ids] == code).mean(axis=1) for code in range(n)])
    return float((np.median(1 / (shares**2).sum(axis=0)) - 1) / max(n - 1, 1))


def _nearest(points: Any) -> tuple[Any, Any]:
    """Return ids and distances of the nearest points of each point, itself first."""
    from sklearn.neighbors import NearestNeighbors

    points = np.ascontiguousarray(points, np.float32)
    n_neighbors = min(_N_NEIGHBORS, len(points))
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(points)
    distances, ids = search.kneighbors(points)
    return ids, distances


def spaces_scored(rows: Sequence[Row]) -> list[Scored]:
    """Return each space that was scored, in the order of the rows."""
    return [
        Scored(row["family"], row["dataset"], row["way"], space, scores)
        for row in rows
        for space, scores in row.get("spaces", {}).items()
        if scores
    ]
