"""Averages over a tissue in which slices, or their donors, share domains.

Averages keep a small shift between slices, and lose the variance of cells that hides it. So slices that mix well as
cells may lie apart as averages, and then domains are parts of single slices. This is tested directly: domains are
counted and found, and if one of them is of one slice, averages are corrected as cells were. Averages of near cells
overlap, so neighbours among them are of one slice in any case, and cannot show it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._crosstab import crosstab
from scrcl.cluster.settings import ClusterSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scrcl.engine.context import Context
    from scrcl.engine.covariates import Covariates
    from scrcl.typing import FloatArray, IntArray

__all__ = ["JoinedSlices", "joined_slices", "n_of_one_batch"]

_OF_ONE = 0.9
"""Share of the cells of a domain in one slice from which it is a domain of that slice."""

_NEARLY_ALL = 0.9
"""Share of all cells from which a slice has most domains nearly alone by chance."""


class JoinedSlices(NamedTuple):
    """What was done about domains of one batch."""

    before: int = 0
    """Domains of one batch before averages were corrected."""
    after: int = 0
    """Those that are left; as many as before if nothing was corrected."""
    batches: Mapping[str, int] = MappingProxyType({})
    """The number of each batch in the correction, by its name."""


def joined_slices(
    context: Context, covariates: Covariates, space: Path, overlap: float
) -> JoinedSlices:
    """Correct the averages in ``space`` in place, if domains are of single batches.

    Parameters
    ----------
    covariates
        Those of the retained cells; batches are there.
    space
        ``.npy`` file of float32, shape (n_cells, n_comps).
    overlap
        Cells that an average is made of.

    The correction, if any, is left as ``correction.npz`` beside ``space``.
    """
    from scrcl.engine.stages.correct_fit import correct_cells

    assert covariates.batches is not None, "batches were corrected"
    names = covariates.batches.names
    numbers, codes = np.unique(covariates.batches.codes, return_inverse=True)
    codes = codes.astype(np.int32)
    before = n_of_one_batch(_domains(context, covariates, space, overlap), codes)
    if not before:
        return JoinedSlices()
    folder = space.parent
    points = np.load(space, mmap_mode="r")
    # Averages of one slice lie in tight groups, far from those of others: by distance, all would seem to be alone.
    correct_cells(context, points, codes, folder, may_move=False, guards=False)
    (folder / "scores.npy").replace(space)
    after = n_of_one_batch(_domains(context, covariates, space, overlap), codes)
    return JoinedSlices(before, after, {names[old]: new for new, old in enumerate(numbers)})


def n_of_one_batch(labels: IntArray, codes: IntArray) -> int:
    """Return how many clusters have 90 % of their cells in one batch that has fewer of all cells."""
    counts = crosstab(labels, codes, int(labels.max()) + 1, int(codes.max()) + 1)
    sizes, totals = counts.sum(axis=1), counts.sum(axis=0)
    is_small = totals[counts.argmax(axis=1)] < _NEARLY_ALL * totals.sum()
    return int(np.count_nonzero((counts.max(axis=1) >= _OF_ONE * sizes) & (sizes > 0) & is_small))


def _domains(context: Context, covariates: Covariates, space: Path, overlap: float) -> IntArray:
    """Return the domains that would be found by default."""
    from scrcl.cluster.count_domains import count_domains
    from scrcl.cluster.find import cluster

    points: FloatArray = np.load(space, mmap_mode="r")
    seed = context.config.seed
    k = count_domains(points, samples=covariates.samples, overlap=overlap, seed=seed).n_clusters
    settings = ClusterSettings(algorithm="mixture")
    return cluster(points, k, settings=settings, seed=seed, overlap=overlap)
