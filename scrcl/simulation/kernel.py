"""Negative binomial counts of one cell after the other, at one pass over the genes of each.

A negative binomial of mean mu and dispersion phi is a Poisson number of clusters, of mean
log(1 + phi mu) / phi, whose sizes follow the logarithmic distribution. The clusters are a thinned
Poisson process of rate mu, and such a process is drawn along the genes by exponential gaps: there
is no random number for a gene without counts, and genes come in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["draw_counts"]


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def draw_counts(
    rng: np.random.Generator,
    profiles: FloatArray,
    states: IntArray,
    effects: FloatArray,
    ambient: FloatArray,
    samples: IntArray,
    depths: FloatArray,
    dispersion: FloatArray,
    genes: IntArray,
    counts: FloatArray,
) -> IntArray:
    """Fill ``genes`` and ``counts`` with the values of the cells and return where each cell ends.

    Parameters
    ----------
    rng
        Generator of these cells alone.
    profiles
        Shares of the genes, float32, shape (n_profiles, n_genes).
    states
        Two rows of ``profiles`` that each cell mixes, shape (n_cells, 2).
    effects, ambient
        Factor of each gene, and shares of the ambient counts: float32, shape (n_samples, n_genes).
    samples
        Sample of each cell, shape (n_cells,).
    depths
        Mean counts from the first state, the second, and the surroundings, shape (n_cells, 3).
    dispersion
        Of each gene, float32, shape (n_genes,).
    genes, counts
        Outputs, int32 and float32, shape (n_cells * n_genes,); filled from the left.

    Returns
    -------
    ndarray of int64, shape (n_cells + 1,)
        Row pointer of the CSR matrix.

    References
    ----------
    Quenouille (1949), Biometrics 5:162: the negative binomial as a Poisson sum of logarithmic
    variables.
    """
    n_cells, n_genes = depths.shape[0], profiles.shape[1]
    ends = np.zeros(n_cells + 1, dtype=np.int64)
    means = np.empty(n_genes, dtype=np.float32)
    filled = 0
    for cell in range(n_cells):
        first, second = profiles[states[cell, 0]], profiles[states[cell, 1]]
        effect, around = effects[samples[cell]], ambient[samples[cell]]
        a, b, c = depths[cell, 0], depths[cell, 1], depths[cell, 2]
        for gene in range(n_genes):
            means[gene] = effect[gene] * (a * first[gene] + b * second[gene] + c * around[gene])
        gap = rng.standard_exponential()
        for gene in range(n_genes):
            gap -= means[gene]
            if gap > 0:
                continue
            count = 0
            while gap <= 0:
                count += _cluster_size(rng.random(), means[gene] * dispersion[gene])
                gap += rng.standard_exponential()
            if count:
                genes[filled] = gene
                counts[filled] = count
                filled += 1
        ends[cell + 1] = filled
    return ends


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _cluster_size(u: float, x: float) -> int:
    """Return the size of a cluster; 0, with probability 1 - log(1 + x) / x, where there is none.

    The number ``u`` is uniform on [0, 1) and ``x`` is mean times dispersion. Size k has
    probability p^k / (k x) with p = x / (1 + x), so that no logarithm is needed for most clusters.
    """
    power = 1.0 / (1.0 + x)
    if u < power:
        return 1
    if u >= np.log1p(x) / x:
        return 0
    p = x * power
    size = 1
    term = power
    while u >= term and term > 1e-12:
        u -= term
        size += 1
        power *= p
        term = power / size
    return size
