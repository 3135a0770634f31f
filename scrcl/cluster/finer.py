"""Divide clusters further than the data supports: the clearest splits first.

Users ask for more clusters than are supported, and one level down there are twice as many. Then the largest cluster
is not the one to halve: a type of a few cells may lie in another one, with a valley beside it that is not quite deep
enough. Two sources of splits compete. Communities that were merged into one cluster are parted again, or the cluster is
halved in the embedding. The next split is the one with the largest product of two factors: the squared distance of the
means in the embedding, and the barrier between both parts in the components (`scrcl.cluster.merging.barrier`). The
embedding tells which types are far apart, but it shows a valley inside of most types too; the components do not.

Sizes do not count. So a small type with a shallow valley comes before the halves of a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.agglomerate import agglomerate
from scrcl.cluster.merging import barrier
from scrcl.cluster.micro import micro_clusters_inside, summarise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import MergeCost
    from scrcl.cluster.agreement import Communities
    from scrcl.cluster.evidence import Evidence
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Finer", "Halving", "divide_further"]

_LEAST_BARRIER = 0.05
"""Added to each barrier. So distances decide where no split shows a valley."""


class Finer(NamedTuple):
    """Parts of clusters, and the order in which they are joined to these."""

    labels: NDArray[np.int64]
    """shape (n_some,): one part of each cluster has the number of the cluster, others have higher ones"""
    joins: list[tuple[int, int]]
    """numbers of parts; a pair joins what they are in by then"""


class Halving(NamedTuple):
    """How a cluster is halved in the embedding."""

    n_micro: int
    """micro-clusters of all cells"""
    cost: MergeCost
    """at which those of the cluster are merged to two"""
    smallest: int
    """cells of the smallest part, by communities too"""
    device: str = "cpu"
    """where k-means runs"""


@dataclass(frozen=True, eq=False)
class _Part:
    """Some cells, and the two groups of communities that they are made of; None for one community."""

    cells: IntArray
    halves: tuple[_Part, _Part] | None = None


class _Split(NamedTuple):
    halves: tuple[_Part, _Part]
    clearness: float


def divide_further(
    evidence: Evidence,
    points: FloatArray,
    labels: IntArray,
    communities: Communities,
    n_parts: int,
    *,
    halving: Halving,
    seed: int,
) -> Finer:
    """Divide clusters until there are ``n_parts``, or no more parts of enough cells.

    Parameters
    ----------
    evidence
        Of the cells below.
    points
        ndarray of float32, shape (n_some, n_dims): the embedding.
    labels
        ndarray of int, shape (n_some,): clusters, from 0 and without gaps.
    communities
        Of the same cells.
    """

    def best(part: _Part) -> _Split | None:
        candidates = [part.halves] if part.halves else []
        candidates += _halves(points, part.cells, halving, seed)
        splits = [
            _Split(each, _clearness(evidence, points, each[0].cells, each[1].cells))
            for each in candidates
            if min(len(half.cells) for half in each) >= halving.smallest
        ]
        return max(splits, key=lambda split: split.clearness, default=None)

    parts = list(_whole(labels, communities))
    splits = [best(part) for part in parts]
    joins: list[tuple[int, int]] = []
    while len(parts) < n_parts:
        clearness = [-1.0 if split is None else split.clearness for split in splits]
        number = int(np.argmax(clearness))
        split = splits[number]
        if split is None:
            break
        parts[number], other = split.halves
        splits[number] = best(parts[number])
        parts.append(other)
        splits.append(best(other))
        joins.insert(0, (number, len(parts) - 1))
    finer = np.empty(len(labels), np.int64)
    for number, part in enumerate(parts):
        finer[part.cells] = number
    return Finer(finer, joins)


def _whole(labels: IntArray, communities: Communities) -> Iterator[_Part]:
    """Yield each cluster as the tree of the communities that it is made of."""
    for cluster in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == cluster)
        of = communities.labels[members]
        parts = {int(one): _Part(members[of == one]) for one in np.unique(of)}
        for kept, joined in communities.joins:
            if joined in parts:
                part = parts.pop(joined)
                parts[kept] = _joined(parts[kept], part) if kept in parts else part
        # A rare type may have cells of communities that were never merged.
        first, *others = parts.values()
        for other in others:
            first = _Part(np.union1d(first.cells, other.cells))
        yield first


def _joined(one: _Part, other: _Part) -> _Part:
    return _Part(np.union1d(one.cells, other.cells), (one, other))


def _halves(
    points: FloatArray, cells: IntArray, halving: Halving, seed: int
) -> list[tuple[_Part, _Part]]:
    """Return the two halves of some cells in the embedding; nothing if they are too few."""
    own = np.ascontiguousarray(points[cells])
    n_micro = round(halving.n_micro * len(cells) / len(points))
    micro_labels, means, _ = micro_clusters_inside(
        own, np.zeros(len(cells), np.int64), n_micro, seed=seed, device=halving.device
    )
    if len(means) < 2:
        return []
    half_of_micro = agglomerate(
        summarise(own, micro_labels), 2, cost=halving.cost, smallest=halving.smallest
    )
    half = half_of_micro[micro_labels]
    return [(_Part(cells[half == 0]), _Part(cells[half == 1]))]


def _clearness(evidence: Evidence, points: FloatArray, a: IntArray, b: IntArray) -> float:
    """Return the squared distance of the means in the embedding, times the barrier in the components."""
    means = (points[group].mean(axis=0, dtype=np.float64) for group in (a, b))
    distance = float(np.square(np.subtract(*means)).sum())
    return distance * (barrier(evidence.support(a, b)) + _LEAST_BARRIER)
