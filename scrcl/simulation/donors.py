"""How the samples of a simulated atlas differ: gene factors, by type too, depth, and ambient RNA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["DonorSettings", "SampleEffects", "sample_effects"]

_GENE_SD = 0.15
_DEPTH_SD = 0.15
"""Deviations of the logs of gene factors and depths in samples without a donor effect."""

_DONOR_GENE_SD = 0.4
_DONOR_TYPE_SD = 0.3
_DONOR_DEPTH_SD = 0.35
_DONOR_AMBIENT_SD = 0.5
"""Deviations of the logs at a donor effect of 1: gene factors of the donor, those of its types, depth, ambient RNA."""

_MOST_BYTES = 2 * 10**9


@dataclass(frozen=True)
class DonorSettings:
    """How far the samples of an atlas differ.

    Attributes
    ----------
    effect
        Strength of the donor effects. 0: samples differ little, and all types alike. 1: factors of genes have a
        deviation of .4 between donors, and of .3 more between the types of a donor (natural logs).
    missing_types
        Share of the samples that lack a type.
    n_own_types
        Number of types that one sample alone has.
    """

    effect: float = 0.0
    missing_types: float = 0.0
    n_own_types: int = 0

    def __post_init__(self) -> None:
        if self.effect < 0:
            message = f"donor_effect must be 0 or more; got {self.effect}. Choose 0 for none."
            raise InputError(message)
        if not 0 <= self.missing_types < 1:
            message = (
                f"missing_types must be at least 0 and below 1; got {self.missing_types}. Choose the share of the "
                "samples that lack a type."
            )
            raise InputError(message)
        if self.n_own_types < 0:
            message = f"n_own_types must be 0 or more; got {self.n_own_types}. Choose 0 for none."
            raise InputError(message)


@dataclass(frozen=True)
class SampleEffects:
    """What is particular to the samples.

    Attributes
    ----------
    genes
        Factors of the genes, float32: shape (n_samples, n_genes), or (n_samples * n_types, n_genes) with the types of a
        sample one after the other.
    by_type
        Whether ``genes`` has a row for each type of each sample.
    depth, ambient
        Factors of the depth, and of the share of ambient RNA: float32, shape (n_samples,).
    """

    genes: FloatArray
    by_type: bool
    depth: FloatArray
    ambient: FloatArray

    def rows(self, samples: IntArray, types: IntArray) -> IntArray:
        """Return the row of ``genes`` for cells of these samples and types."""
        if not self.by_type:
            return samples
        n_types = len(self.genes) // len(self.depth)
        return samples * n_types + types


def sample_effects(
    counts: IntArray, n_genes: int, donors: DonorSettings, rng: np.random.Generator
) -> SampleEffects:
    """Draw the effects of samples with ``counts`` cells of each type, shape (n_samples, n_types).

    The logs of all factors have a mean of 0 over the cells: a single sample has factors of 1.

    Raises
    ------
    InputError
        Effects that differ by type would take more than 2 GB.
    """
    n_samples, n_types = counts.shape
    of_sample = counts.sum(axis=1) / counts.sum()
    if not donors.effect:
        genes = _factors(_GENE_SD, (n_samples, n_genes), of_sample, rng)
        depth = _factors(_DEPTH_SD, (n_samples, 1), of_sample, rng).ravel()
        return SampleEffects(genes, False, depth, np.ones(n_samples, np.float32))
    n_bytes = 4 * n_samples * n_types * n_genes
    if n_bytes > _MOST_BYTES:
        message = (
            f"donor_effect must fit samples, types and genes into {_MOST_BYTES // 10**9} GB; got {n_samples:,} x "
            f"{n_types:,} x {n_genes:,}, {n_bytes / 1e9:.1f} GB. Choose fewer of one, or donor_effect = 0."
        )
        raise InputError(message)
    strength = donors.effect
    gene_sd = float(np.hypot(_GENE_SD, _DONOR_GENE_SD * strength))
    shared = _factors(gene_sd, (n_samples, n_genes), of_sample, rng)
    genes = np.empty((n_samples, n_types, n_genes), np.float32)
    for kind in range(n_types):
        own = counts[:, kind] / max(int(counts[:, kind].sum()), 1)
        genes[:, kind] = shared * _factors(
            _DONOR_TYPE_SD * strength, (n_samples, n_genes), own, rng
        )
    depth_sd = float(np.hypot(_DEPTH_SD, _DONOR_DEPTH_SD * strength))
    depth = _factors(depth_sd, (n_samples, 1), of_sample, rng).ravel()
    ambient = _factors(_DONOR_AMBIENT_SD * strength, (n_samples, 1), of_sample, rng).ravel()
    return SampleEffects(genes.reshape(-1, n_genes), True, depth, ambient)


def _factors(
    sd: float, shape: tuple[int, int], shares: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return log-normal factors, float32, whose logs have a mean of 0 over the cells that ``shares`` counts."""
    logs = sd * rng.standard_normal(shape, dtype=np.float32)
    logs -= shares.astype(np.float32) @ logs
    factors: FloatArray = np.exp(logs)
    return factors
