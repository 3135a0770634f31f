"""Divide large clusters once more, in components of their own cells.

Components of all cells show what differs most among all of them. Types that differ in a few genes lie close together
there, among what other types vary in, and no valley shows between them. Components that are made of the cells of one
cluster have only what varies inside it. So a large cluster is taken for a data set of its own: its representations
vote, and the communities without a valley between them are merged. If more than one is left, they take its place.

Genes stay those of all cells. Genes that are chosen for a cluster alone show more types, but they also part donors and
cells of one line (`bench/results/accuracy/2026-12-01-2cpu-divided.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.agreement import (
    fewer_neighbors,
    merged_communities,
    nearest_cells,
    of_nearest,
    side_by_side,
)
from scrcl.cluster.evidence import evidence_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scrcl.cluster.evidence import Evidence
    from scrcl.cluster.protocol import Representations
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import BoolArray, IntArray

__all__ = ["divide_large"]

_MORE_SUPPORT = 0.1
"""How much deeper than ``cluster.least_support`` a valley must be. Components that are made of one cluster show what
parts its cells most, and that may be donors."""

_FEWEST_CELLS = 8
"""Cells of the smallest cluster that can be divided: two groups of four, between which a valley can be measured."""


class Inside(NamedTuple):
    """How parts of one cluster are compared; the parameters of `scrcl.cluster.evidence.Evidence.compare_inside`."""

    group: NDArray[np.int64]
    shown: NDArray[np.int64]
    own: Evidence


def divide_large(
    inside: Callable[[IntArray], Representations],
    evidence: Evidence,
    labels: NDArray[np.int64],
    *,
    is_drawn: BoolArray,
    n_rare: int,
    n_neighbors: int,
    settings: ClusterSettings,
    seed: int,
) -> tuple[NDArray[np.int64], list[Inside]]:
    """Return clusters, with those divided that show a valley inside, and how the parts of each of these are compared.

    Parameters
    ----------
    inside
        A function from the cells of one cluster, in ascending order, to representations that are made of them alone.
    evidence
        Of the cells below.
    labels
        ndarray of int64, shape (n_some,): clusters of the cells of the evidence, from 0 and without gaps.
    is_drawn
        ndarray of bool, shape (n_some,): cells that may show a valley. Others get the part of the nearest drawn cell.
    n_rare
        How many of the last clusters are rare types, which are not divided. They stay the last ones.
    n_neighbors
        Neighbours of a cell in each graph; fewer in a small cluster.
    """
    n_large = int(labels.max()) + 1 - n_rare
    divided: list[Inside] = []
    if n_large < 2:
        return labels, divided  # its own components are those of all cells
    parts = np.zeros_like(labels)
    for cluster in range(n_large):
        members = labels == cluster
        drawn = np.flatnonzero(members & is_drawn)
        if len(drawn) < max(settings.divide_cells, _FEWEST_CELLS):
            continue
        found, own = _clusters_inside(inside, evidence.cells[drawn], n_neighbors, settings, seed)
        if found.max() > 0:
            points = side_by_side([space[members] for space in evidence.spaces])
            parts[members] = of_nearest(points, found, is_drawn[members])
            divided.append(Inside(np.flatnonzero(members), drawn, own))
    keys = labels * (int(parts.max()) + 1) + parts
    return np.unique(keys, return_inverse=True)[1].astype(np.int64), divided


def _clusters_inside(
    inside: Callable[[IntArray], Representations],
    cells: IntArray,
    n_neighbors: int,
    settings: ClusterSettings,
    seed: int,
) -> tuple[NDArray[np.int64], Evidence]:
    """Return the supported clusters of some cells in representations of their own, and the evidence of these."""
    representations = inside(cells)
    own = evidence_of(cells, representations, seed)
    k = fewer_neighbors(n_neighbors, len(cells))
    nearest = nearest_cells(representations.scores, k, seed)
    least_support = min(settings.least_support + _MORE_SUPPORT, 1)
    return merged_communities(nearest, k, own, least_support, seed=seed).merged(), own
