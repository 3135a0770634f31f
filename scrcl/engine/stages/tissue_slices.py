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
from scrcl._group_means import group_means
from scrcl.cluster.settings import ClusterSettings
from scrcl.graph.artifacts import NEIGHBOR_IDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scrcl.engine.context import Context
    from scrcl.engine.covariates import Covariates
    from scrcl.typing import FloatArray, IntArray

__all__ = ["JoinedSlices", "domains_apart", "domains_of_one_batch", "joined_slices"]

_OF_ONE = 0.9
"""Share of the cells of a domain in one slice from which it is a domain of that slice."""

_NEARLY_ALL = 0.9
"""Share of all cells from which a slice has most domains nearly alone by chance."""

_FACTOR = 1.3
"""Distance of a domain to other slices, over the shift between slices, from which it is no shift. In simulated sections
(``bench.spatial.sections``) domains of one section alone had 1.5 to 2.6, and parts of others .9 to 1.1."""

_LEAST_CELLS = 10
"""Cells of the part of a domain in a slice whose mean is compared."""

_LEAST_SHARED, _LEAST_OF_BATCH = 0.8, 0.2
"""Share of all cells, and of the cells of a slice, that are in domains of several slices at least. Where a shift parts
many domains, it is not measured by those that are left (ARI .57 in place of .78 in one simulated set)."""


class JoinedSlices(NamedTuple):
    """What was found about domains of one slice, and done."""

    n_before: int = 0
    """domains of one slice before the correction"""
    n_after: int = 0
    """and after it; the same number if nothing was corrected"""
    n_apart: int = 0
    """those that are no shift between slices, and were left out of the correction"""
    batches: Mapping[str, int] = MappingProxyType({})
    """the number of each batch in the correction, by its name; none if nothing was corrected"""


def joined_slices(
    context: Context, covariates: Covariates, space: Path, overlap: float
) -> JoinedSlices:
    """Correct the averages in ``space`` in place, if domains are of single batches only by a shift.

    Parameters
    ----------
    covariates
        Those of the retained cells; batches are there.
    space
        ``.npy`` file of float32, shape (n_cells, n_comps).
    overlap
        Cells that an average is made of.

    The correction, if there is one, is left as ``correction.npz`` beside ``space``.
    """
    from scrcl.engine.stages.correct_fit import correct_cells

    assert covariates.batches is not None, "batches were corrected"
    names = covariates.batches.names
    numbers, codes = np.unique(covariates.batches.codes, return_inverse=True)
    codes = codes.astype(np.int32)
    labels = _domains(context, covariates, space, overlap)
    found = domains_of_one_batch(labels, codes)
    if not len(found):
        return JoinedSlices()
    points = np.load(space, mmap_mode="r")
    apart = domains_apart(points, labels, codes)
    if len(apart) == len(found):
        return JoinedSlices(len(found), len(found), len(apart))
    folder = space.parent
    # Averages of one slice lie in tight groups, far from those of others: by distance, all would seem to be alone.
    alone = np.isin(labels, apart)
    correct_cells(context, points, codes, folder, may_move=False, alone=alone)
    (folder / "scores.npy").replace(space)
    after = domains_of_one_batch(_domains(context, covariates, space, overlap), codes)
    batches = {names[old]: new for new, old in enumerate(numbers)}
    return JoinedSlices(len(found), len(after), len(apart), batches)


def domains_of_one_batch(labels: IntArray, codes: IntArray) -> IntArray:
    """Return the clusters that have 90 % of their cells in one batch that has fewer of all cells."""
    counts = crosstab(labels, codes)
    sizes, totals = counts.sum(axis=1), counts.sum(axis=0)
    is_small = totals[counts.argmax(axis=1)] < _NEARLY_ALL * totals.sum()
    return np.flatnonzero((counts.max(axis=1) >= _OF_ONE * sizes) & (sizes > 0) & is_small)


def domains_apart(points: FloatArray, labels: IntArray, codes: IntArray) -> IntArray:
    """Return the domains of one batch that lie further from all other batches than shifts between batches reach.

    The shift is the median distance between the parts of a domain in two batches. None is returned if many cells are in
    domains of one batch, or hardly any of the batch are in others: then there is nothing to measure the shift by. None
    is returned either if several batches have such domains: these may be one that differs, as tumours of patients do.

    Parameters
    ----------
    points
        ndarray or memory map of float, shape (n_cells, n_dims).
    """
    from scipy.spatial.distance import cdist

    counts, of_one = crosstab(labels, codes), domains_of_one_batch(labels, codes)
    n_batches = counts.shape[1]
    shared = np.delete(counts, of_one, axis=0)
    if shared.sum() < _LEAST_SHARED * counts.sum():
        return of_one[:0]
    parts = np.flatnonzero(counts.ravel() >= _LEAST_CELLS)
    flat = np.asarray(labels, np.int64) * n_batches + codes
    means = group_means(points, flat, counts.size)[parts]
    domain, batch = np.divmod(parts, n_batches)
    apart = cdist(means, means)
    others = batch[:, None] != batch
    of_domain = others & (domain[:, None] == domain)
    if not of_domain.any():
        return of_one[:0]
    known = of_domain.any(axis=1)
    shift = np.median(np.nanmedian(np.where(of_domain, apart, np.nan)[known], axis=1))
    nearest = np.where(others & (domain[:, None] != domain), apart, np.inf).min(axis=1)
    in_shared = shared.sum(axis=0) / counts.sum(axis=0)
    own = np.isin(domain, of_one) & (counts[domain].argmax(axis=1) == batch)
    is_apart = own & (nearest > _FACTOR * shift) & (in_shared[batch] >= _LEAST_OF_BATCH)
    if len(np.unique(batch[is_apart])) > 1:
        return of_one[:0]
    return np.unique(domain[is_apart])


def _domains(context: Context, covariates: Covariates, space: Path, overlap: float) -> IntArray:
    """Return the domains that would be found by default."""
    from scrcl.cluster.count_domains import count_domains
    from scrcl.cluster.find import cluster

    points: FloatArray = np.load(space, mmap_mode="r")
    seed = context.config.seed
    k = count_domains(points, samples=covariates.samples, overlap=overlap, seed=seed).n_clusters
    settings = ClusterSettings(algorithm="mixture")
    around = context.open(NEIGHBOR_IDS)
    return cluster(points, k, settings=settings, seed=seed, overlap=overlap, around=around)
