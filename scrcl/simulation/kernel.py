"""Negative binomial counts, cell by cell, in one pass over the genes.

A negative binomial count of mean mu and dispersion phi is the sum of a Poisson number of clusters. That number has
mean log(1 + phi mu) / phi, and the sizes of clusters follow the logarithmic distribution. The clusters are a thinned
Poisson process of rate mu. Such a process is drawn along the genes by exponential gaps. So a gene without counts costs
no random number, and genes come in ascending order.
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
    effect_of: IntArray,
    ambient: FloatArray,
    samples: IntArray,
    depths: FloatArray,
    dispersion: FloatArray,
    genes: IntArray,
    counts: FloatArray,
) -> IntArray:
    """Fill ``genes`` and ``counts`` with the stored values of cells; return the row pointer.

    Parameters
    ----------
    rng
        Generator of these cells only.
    profiles
        Shares of the genes, float32, shape (n_profiles, n_genes).
    states
        The two rows of ``profiles`` that each cell mixes, shape (n_cells, 2).
    effects, effect_of
        Factors of the genes, float32, shape (n_effects, n_genes), and the row of them for each cell, shape (n_cells,).
    ambient, samples
        Share of each gene in the ambient counts, float32, shape (n_samples, n_genes), and the sample of each cell,
        shape (n_cells,).
    depths
        Mean counts from the first state, the second state, and ambient RNA, shape (n_cells, 3).
    dispersion
        Dispersion of each gene, float32, shape (n_genes,).
    genes, counts
        Outputs, int32 and float32, shape (n_cells * n_genes,); filled from the left.

    Returns
    -------
    ndarray of int64, shape (n_cells + 1,)
        Row pointer of the CSR matrix: where each cell begins, and the end.

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
        effect, around = effects[effect_of[cell]], ambient[samples[cell]]
        a, b, c = depths[cell, 0], depths[cell, 1], depths[cell, 2]
        for gene in range(n_genes):
            means[gene] = effect[gene] * (a * first[gene] + b * second[gene] + c * around[gene])
        # ``gap`` is the distance to the next cluster, along an axis on which each gene is as long as its mean. A gene
        # subtracts its length: clusters at a gap of 0 or less are in the gene.
        gap = rng.standard_exponential()
        for gene in range(n_genes):
            gap -= means[gene]
            if gap > 0:
                continue
            count = 0
            while gap <= 0:
                count += _cluster_size(rng.random(), means[gene] * dispersion[gene])
                gap += rng.standard_exponential()
            # Thinning may drop all clusters of a gene, and zeros are not stored.
            if count:
                genes[filled] = gene
                counts[filled] = count
                filled += 1
        ends[cell + 1] = filled
    return ends


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _cluster_size(u: float, x: float) -> int:
    """Return the size of a cluster, or 0 if thinning drops it, which has probability 1 - log(1 + x) / x.

    ``u`` is uniform on [0, 1), and ``x`` is mean times dispersion. Size k has probability p^k / (k x), with
    p = x / (1 + x).
    """
    power = 1.0 / (1.0 + x)
    # p / x = 1 / (1 + x) is the probability of size 1. Most clusters end here, before any logarithm.
    if u < power:
        return 1
    if u >= np.log1p(x) / x:
        return 0
    p = x * power
    size = 1
    term = power
    # Inversion: subtract the probabilities of sizes 1, 2, ... until ``u`` is used up. The lower bound ends the loop if
    # rounding leaves a rest of ``u`` in the far tail.
    while u >= term and term > 1e-12:
        u -= term
        size += 1
        power *= p
        term = power / size
    return size
