"""Cells of one set as if parts of them had been measured by other technologies, or in another study.

============  ==========================================================================================
``reads``     two studies: counts of molecules, and reads of whole transcripts
``genes``     two studies of molecules; the second captures genes otherwise, and has never seen some
``mixed``     five technologies: as it is, shallow, collision-corrected, reads, captured otherwise
``platforms`` five technologies: shallow, two collision-corrected ones, two of reads
``versions``  three versions of one chemistry: depths of 1 : 2 : 4, and mild differences of capture
============  ==========================================================================================

Molecules are thinned, so they stay real counts. Collision-corrected counts are no whole numbers: of ``n`` molecules as
many barcodes are seen as chance gives, and ``-K log(1 - seen / K)`` of them are reported (CEL-seq2). Reads grow with
the length of a gene and with the noise of amplification, up to a million in a cell. Parts are of uneven sizes and hold
the types in uneven shares; each but the first lacks one type where there are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["MIXES", "Technology", "measured", "parted"]

_LENGTH_SD = 0.7
_NOISE_SD = (0.5, 1.0)
_READS = (1e5, 1e6)
_UNEVEN_SD = 0.4
"""Deviation of the log of the share of a part, over all cells."""

_CONCENTRATION = 6.0
"""Of the shares of the parts in a type: lower is more uneven."""

_FEWEST_TYPES = 4
"""With fewer types no part lacks one."""


@dataclass(frozen=True)
class Technology:
    """What a technology makes of molecules.

    Attributes
    ----------
    name
        Of the batch.
    kept
        Share of the molecules that is seen.
    bias
        Deviation of the log of this share between genes.
    unseen
        Share of the genes that are never seen.
    n_barcodes
        Molecular barcodes, for collision-corrected counts; 0 for whole numbers.
    is_reads
        Reads of whole transcripts in place of molecules.
    """

    name: str
    kept: float = 1.0
    bias: float = 0.0
    unseen: float = 0.0
    n_barcodes: int = 0
    is_reads: bool = False


_AS_IS = Technology("as it is")
_SHALLOW = Technology("shallow", kept=0.25)
_CORRECTED = Technology("collision-corrected", n_barcodes=256)
_READS_OF_GENES = Technology("reads", is_reads=True)
_OTHERWISE = Technology("captured otherwise", bias=0.5, unseen=0.15)

MIXES: dict[str, tuple[Technology, ...]] = {
    "reads": (_AS_IS, _READS_OF_GENES),
    "genes": (_AS_IS, _OTHERWISE),
    "mixed": (_AS_IS, _SHALLOW, _CORRECTED, _READS_OF_GENES, _OTHERWISE),
    "platforms": (
        _SHALLOW,
        _CORRECTED,
        Technology("collision-corrected, other barcodes", bias=0.3, n_barcodes=4096),
        _READS_OF_GENES,
        Technology("other reads", bias=0.3, is_reads=True),
    ),
    "versions": (
        Technology("version 1", kept=0.25, bias=0.3),
        Technology("version 2", kept=0.5, bias=0.3),
        Technology("version 3", bias=0.3),
    ),
}
"""The technologies that are joined, by the name of the mix."""


def parted(types: IntArray, n_parts: int, rng: np.random.Generator) -> IntArray:
    """Return the part of each cell, 0 to ``n_parts - 1``.

    Parameters
    ----------
    types
        Type of each cell, numbered without gaps.
    """
    sizes = np.exp(rng.normal(0, _UNEVEN_SD, n_parts))
    n_types = int(types.max()) + 1
    shares = rng.dirichlet(_CONCENTRATION * n_parts * sizes / sizes.sum(), n_types)
    if n_types >= _FEWEST_TYPES:
        lacking = rng.choice(n_types, min(n_parts - 1, n_types), replace=False)
        shares[lacking, 1 : 1 + len(lacking)] *= 1 - np.eye(len(lacking))
        shares /= shares.sum(axis=1, keepdims=True)
    drawn = rng.random(len(types))
    found = (drawn[:, None] > np.cumsum(shares[types], axis=1)).sum(axis=1)
    return np.asarray(np.minimum(found, n_parts - 1), np.int64)


def measured(counts: Any, technology: Technology, rng: np.random.Generator) -> Any:
    """Return what a technology makes of molecules: CSR of float32.

    Parameters
    ----------
    counts
        CSR, shape (n_cells, n_genes): whole numbers.
    """
    found = counts.tocoo(copy=True)
    shares = _shares(technology, counts.shape[1], rng)
    kept = rng.binomial(np.rint(found.data).astype(np.int64), shares[found.col]).astype(np.float64)
    if technology.n_barcodes:
        kept = _after_collisions(kept, technology.n_barcodes)
    found.data = kept
    found = found.tocsr()
    found.eliminate_zeros()
    if technology.is_reads:
        found = _as_reads(found, rng)
    return found.astype(np.float32)


def _shares(technology: Technology, n_genes: int, rng: np.random.Generator) -> FloatArray:
    """Return the share of its molecules that is seen of each gene."""
    factors = np.exp(rng.normal(0, technology.bias, n_genes))
    # No gene is seen more than in full. A few would be, so these are cut.
    factors = np.minimum(factors / np.quantile(factors, 0.9), 1)
    unseen = rng.permutation(n_genes)[: round(technology.unseen * n_genes)]
    factors[unseen] = 0
    return np.asarray(technology.kept * factors)


def _after_collisions(molecules: FloatArray, n_barcodes: int) -> FloatArray:
    """Return counts of molecules corrected for barcodes that several of them have."""
    seen = np.rint(n_barcodes * -np.expm1(-molecules / n_barcodes))
    seen = np.minimum(seen, n_barcodes - 1)
    return np.asarray(-n_barcodes * np.log1p(-seen / n_barcodes))


def _as_reads(molecules: Any, rng: np.random.Generator) -> Any:
    """Return reads: molecules by the length of the gene and the noise of amplification, 1e5 to 1e6 in a cell."""
    lengths = np.exp(rng.normal(0, _LENGTH_SD, molecules.shape[1]))
    noise = np.exp(rng.normal(0, rng.uniform(*_NOISE_SD), molecules.nnz))
    molecules.data = molecules.data * lengths[molecules.indices] * noise
    sums = np.maximum(np.asarray(molecules.sum(axis=1)).ravel(), 1e-12)
    totals = np.exp(rng.uniform(np.log(_READS[0]), np.log(_READS[1]), len(sums)))
    molecules.data = np.rint(molecules.data * np.repeat(totals / sums, np.diff(molecules.indptr)))
    molecules.eliminate_zeros()
    return molecules
