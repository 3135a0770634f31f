"""Test whether batches differ: how often near cells are from other batches, against chance.

Chance is taken from a wider neighbourhood, not from all cells. A cell type that only one batch has is surrounded by
that batch near and far. It shows no effect. A batch effect does: the nearest cells are from the cell's own batch, and
other batches come only further out.

Batches that mix can hide one that does not: few cells of it have others around them, and the mean is of all cells that
do. And cells with more noise lie around those of another batch that have none of them near. So where the batches as a
whole mix, the cells of each are also asked alone.

Standard errors say little where batches are small or uneven: few cells then have other batches around them. So what
differs must also be beyond what random batches of the same sizes give on the same neighbours (`are_random`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl._crosstab import crosstab

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = [
    "FEW_SHARED",
    "MIXED",
    "NEAR",
    "WIDE",
    "Apart",
    "BatchEffect",
    "are_random",
    "groups_that_mix",
    "measure_effect",
    "measure_one",
    "mixing_in_clusters",
    "share_joined",
    "what_keeps_apart",
]

NEAR = 5
"""Nearest cells whose batches are compared with those of the wider neighbourhood."""

WIDE = 15
"""Cells of the wider neighbourhood."""

_LEAST_SHARE = 0.25
"""A cell counts if its wide neighbourhood has this share of the cells of other batches that chance gives."""

MIXED = 0.94
"""Mixing below which batches are corrected. Batches drawn at random have 1.00 with a deviation of .01 on sets of some
thousand cells, cell types of one batch only .96 to 1.00, and donors that clusters follow .73 to .88
(``bench.batches.donors``)."""

_LESS_OF_ONE = 0.04
"""How far below that the mixing of the cells of one batch must be, since one of many is low by chance. At a type of one
batch alone, cells lie nearer to their own type than to those of other batches: of 1,620 draws of batches that lack
types and have no effect, 573 are corrected without the test of single batches, 659 with it, and some 700 with .02."""

_LEAST_OTHERS = 0.2
"""Share of the cells that other batches must have for a batch to be asked whether it has any of them around it."""

_DEVIATIONS = 3.0
"""Standard errors below 1 that the mixing of a small set must have."""

FEW_SHARED = 0.1
"""Share of cells in regions of several batches below which batches count as separate."""

_N_DRAWS = 999
"""Random batches that must all keep apart less. So one in a thousand of them passes, as beyond `_DEVIATIONS`."""

_SHARED = 0.5
"""Two batches share their regions if each has this share of the neighbours that chance gives."""


@dataclass(frozen=True)
class BatchEffect:
    """How far batches keep apart.

    Attributes
    ----------
    mixing
        Share of other batches among the nearest cells over that of the wider neighbourhood: 1 if batches mix as by
        chance, 0 if cells have only neighbours of their own batch. 0 where no region is shared.
    error
        Standard error of ``mixing``.
    shared
        Share of the cells outside of the largest batch that have other batches around them, near or apart. Few cells
        of a large batch are near to a small one, however well both mix, so the largest is not asked.
    """

    mixing: float
    error: float
    shared: float

    def differ(self, mixed: float = MIXED) -> bool:
        """Return whether the batches mix less than ``mixed`` and, as far as the error shows, less than by chance.

        If they share nearly no region, few cells show how they mix, and that is a sign of an effect by itself. Batches
        for which this holds may still be random ones (`are_random`).
        """
        return self.shared <= FEW_SHARED or self.mixing < min(mixed, 1 - _DEVIATIONS * self.error)


@dataclass(frozen=True)
class Apart:
    """Whether something keeps batches apart, and what: the batches, groups of them that mix, or one of several.

    Attributes
    ----------
    groups
        ndarray of int, shape (n_batches,): group of each batch, as of `groups_that_mix`.
    by_group
        The batches mix, and their groups do not.
    effect
        How far the groups keep apart if ``by_group``, the cells of ``one`` if that is given, else the batches.
    differ
        Whether that needs a correction.
    one
        The batch whose cells keep apart from all others, where the batches as a whole mix; else None.
    """

    groups: NDArray[np.int64]
    by_group: bool
    effect: BatchEffect
    differ: bool
    one: int | None = None


def what_keeps_apart(
    ids: IntArray, codes: IntArray, rng: np.random.Generator, mixed: float = MIXED
) -> Apart:
    """Return whether batches, or groups of them, keep apart.

    Parameters
    ----------
    ids, codes
        As in `groups_that_mix`.
    rng
        As in `are_random`.
    mixed
        As in `BatchEffect.differ`.
    """
    groups, effect = groups_that_mix(ids, codes), measure_effect(ids, codes)
    plain = Apart(groups, False, effect, False)
    if codes.max() == 0:
        return plain
    found = _apart(ids, codes, plain, mixed)
    # Groups and single batches were chosen by how they lie, so all batches are what must not be random.
    return found if found.differ and not are_random(ids, codes, rng) else plain


def _apart(ids: IntArray, codes: IntArray, plain: Apart, mixed: float) -> Apart:
    """Return what seems to keep batches apart: the batches, else their groups, else one batch of several."""
    if plain.effect.differ(mixed):
        return replace(plain, differ=True)
    if plain.groups.max() > 0:
        of_groups = measure_effect(ids, plain.groups[codes])
        if of_groups.differ(mixed):
            return replace(plain, by_group=True, effect=of_groups, differ=True)
    one = _one_apart(ids, codes, mixed)
    return plain if one is None else replace(plain, differ=True, one=one[0], effect=one[1])


def _one_apart(ids: IntArray, codes: IntArray, mixed: float) -> tuple[int, BatchEffect] | None:
    """Return the batch whose own cells keep apart most, and how far; None if none does.

    It shares nearly no region, or it mixes by more than `_LESS_OF_ONE` below ``mixed``.
    """
    n_batches = int(codes.max()) + 1
    effects = {one: measure_one(ids, codes, one) for one in range(n_batches)}
    others = 1 - np.bincount(codes) / len(codes)
    found = {
        one: effect
        for one, effect in effects.items()
        # By chance few cells of a large batch are near to the few others.
        if (effect.shared > FEW_SHARED or others[one] >= _LEAST_OTHERS)
        and effect.differ(mixed - _LESS_OF_ONE)
    }
    return min(found.items(), key=lambda each: each[1].mixing, default=None)


def measure_one(ids: IntArray, codes: IntArray, one: int) -> BatchEffect:
    """Return how far the cells of one batch keep apart from all others; ``shared`` is the share among its own cells."""
    own = np.flatnonzero(codes == one)
    across = codes[ids[own, :WIDE]] != one
    expected = across.mean(axis=1)
    informs = expected > _LEAST_SHARE * (1 - len(own) / len(codes))
    if not informs.any():
        return BatchEffect(0.0, 0.0, 0.0)
    return BatchEffect(
        *_mixing(across[informs], expected[informs], _n_near(ids)), float(informs.mean())
    )


def measure_effect(ids: IntArray, codes: IntArray) -> BatchEffect:
    """Return how far batches keep apart.

    Parameters
    ----------
    ids
        ndarray of int, shape (n_cells, k): neighbours of each cell, nearest first. `WIDE` columns are used, or as many
        as there are; the nearest third of them is near.
    codes
        ndarray of int, shape (n_cells,): batch of each cell.

    Examples
    --------
    >>> ids = np.array([[1, 2, 3], [0, 2, 3], [3, 0, 1], [2, 0, 1]])
    >>> measure_effect(ids, np.array([0, 0, 1, 1])).mixing
    0.0
    """
    across = codes[ids[:, :WIDE]] != codes[:, None]
    expected = across.mean(axis=1)
    informs, shared = _joined(expected, codes)
    if not informs.any():
        return BatchEffect(0.0, 0.0, shared)
    return BatchEffect(*_mixing(across[informs], expected[informs], _n_near(ids)), shared)


def _mixing(across: BoolArray, expected: FloatArray, n_near: int) -> tuple[float, float]:
    """Return the mixing of some cells and its standard error, from which of their neighbours are of other batches."""
    seen = across[:, :n_near].mean(axis=1)
    mixing = float(seen.mean() / expected.mean())
    spread = np.std(seen - mixing * expected) / expected.mean()
    return mixing, float(spread / np.sqrt(len(seen)))


def share_joined(ids: IntArray, codes: IntArray) -> float:
    """Return ``shared`` of `measure_effect` alone."""
    return _joined((codes[ids[:, :WIDE]] != codes[:, None]).mean(axis=1), codes)[1]


def _joined(across: FloatArray, codes: IntArray) -> tuple[BoolArray, float]:
    """Return which cells have other batches around them, and their share outside of the largest batch.

    ``across`` is the share of other batches in the wide neighbourhood of each cell.
    """
    sizes = np.bincount(codes)
    joined = across > _LEAST_SHARE * (1 - sizes / len(codes))[codes]
    asked = codes != int(sizes.argmax())
    return joined, float(joined[asked].mean()) if asked.any() else 0.0


def _n_near(ids: IntArray) -> int:
    return max(1, min(int(ids.shape[1]), WIDE) * NEAR // WIDE)


def are_random(ids: IntArray, codes: IntArray, rng: np.random.Generator) -> bool:
    """Return whether batches of the same sizes, drawn at random, may keep apart as much as these do.

    The labels are permuted among the cells, and the neighbours stay. So the test is exact for batches of any size.

    Parameters
    ----------
    ids, codes
        As in `measure_effect`.
    rng
        Draws the permutations: few if the batches are random, `_N_DRAWS` if not.
    """
    near = ids[:, : _n_near(ids)]
    sizes = np.bincount(codes)
    by_chance = near.shape[1] * sizes * (sizes - 1) / max(len(codes) - 1, 1)

    def apart(labels: IntArray) -> float:
        own = np.bincount(labels, (labels[near] == labels[:, None]).sum(axis=1))
        # Each batch by its own variance: else noise of the large ones hides a small one that lies apart. A batch of a
        # few cells expects nearly no own neighbours; 1 more keeps a single pair of them from deciding.
        return float((np.maximum(own - by_chance, 0) ** 2 / (by_chance + 1)).sum())

    seen = apart(codes)
    return any(apart(rng.permutation(codes)) >= seen for _ in range(_N_DRAWS))


def groups_that_mix(ids: IntArray, codes: IntArray) -> NDArray[np.int64]:
    """Return the group of each batch: batches that share their regions are in one group.

    Samples of one condition may mix well with each other and lie apart from those of another condition. Each cell then
    has neighbours of other batches, and only the groups show that something keeps them apart.

    Parameters
    ----------
    ids, codes
        As in `measure_effect`; every code from 0 to the largest has cells.

    Returns
    -------
    ndarray of int, shape (n_batches,)
        0 .. n_groups - 1.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    wide = ids[:, :WIDE]
    n_batches = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=n_batches)
    pairs = coo_matrix(
        (np.ones(wide.size), (np.repeat(codes, wide.shape[1]), codes[wide].ravel())),
        shape=(n_batches, n_batches),
    ).tocsr()
    own = np.maximum(pairs.diagonal(), 1)
    found = pairs.tocoo()
    # Neighbours from another batch for each neighbour from the own one, over the same ratio by chance.
    ratio = found.data / own[found.row] * sizes[found.row] / sizes[found.col]
    near = coo_matrix((ratio >= _SHARED, (found.row, found.col)), shape=pairs.shape).tocsr()
    return np.asarray(connected_components(near.multiply(near.T), directed=False)[1], np.int64)


def mixing_in_clusters(
    ids: IntArray, codes: IntArray, labels: IntArray, n_clusters: int
) -> NDArray[np.float64]:
    """Return how well batches mix inside each cluster, against chance inside that cluster.

    Parameters
    ----------
    ids, codes
        As in `measure_effect`.
    labels
        ndarray of int, shape (n_cells,): cluster of each cell, below ``n_clusters``.

    Returns
    -------
    ndarray of float64, shape (n_clusters,)
        1: as by chance; 0: neighbours in the cluster are all of the cell's batch; NaN for a cluster with (nearly) one
        batch, which has nothing to mix.
    """
    near = ids[:, :WIDE]
    inside = labels[near] == labels[:, None]
    across = inside & (codes[near] != codes[:, None])
    seen = across.sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    n_batches = int(codes.max()) + 1
    table = crosstab(labels, codes, n_clusters, n_batches)
    sizes = table.sum(axis=1)
    others = (sizes[labels] - table[labels, codes]) / np.maximum(sizes[labels] - 1, 1)
    sums = [np.bincount(labels, values, minlength=n_clusters) for values in (seen, others)]
    enough = (sums[1] > _ONE_BATCH * sizes) & (sizes > 1)
    found = np.full(n_clusters, np.nan)
    found[enough] = sums[0][enough] / sums[1][enough]
    return found


_ONE_BATCH = 0.02
"""Share of pairs across batches below which a cluster counts as one of a single batch."""
