"""Totals of cells in molecules, where the batches of some cells count reads and those of others count molecules.

A molecule that was amplified and sequenced in full gives hundreds of reads (Smart-seq2, Fluidigm C1). Next to counts of
molecules, such a batch would decide alone what a usual total is, and how far a count is from the expected one. How many
reads a molecule gives shows in the genes that are seen in some cells only: of molecules, chance gives so many cells
without any as their mean says (Poisson), and of reads there are far more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.prep.normalize import size_factors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["reads_per_molecule", "totals_in_molecules"]

_READS = 5.0
"""Counts for each molecule from which a batch counts reads. Batches of molecules have 1.0 to 1.9 in 28 cases, and
batches of reads 14 to 900 (``bench.batches.donors``)."""

_SEEN_IN = (0.05, 0.95)
"""Shares of the cells of a batch that see a gene which is asked."""

_FEWEST_GENES = 20
_FEWEST_CELLS = 20
"""Fewer genes, or cells of a batch, say nothing."""

_QUANTILE = 0.25
"""Of all genes that are asked. Types that lack a gene look like reads, so those that vary least are believed."""


def totals_in_molecules(logs: Csr, totals: FloatArray, codes: IntArray) -> FloatArray:
    """Return totals of cells as if all batches counted molecules; the given ones if all count alike.

    Parameters
    ----------
    logs, totals
        As in `reads_per_molecule`.
    codes
        ndarray of int, shape (n_cells,): batch of each cell.
    """
    rows = {batch: codes == batch for batch in np.unique(codes).tolist()}
    sizes = {batch: float(np.log(np.median(totals[own]))) for batch, own in rows.items()}
    known: dict[int, float] = {}
    for batch, own in rows.items():
        reads = reads_per_molecule(logs[own], totals[own])
        if reads is not None:
            known[batch] = reads if reads > _READS else 1.0
    kinds = np.array(list(known.values()))
    if not (kinds > 1).any() or (kinds > 1).all():
        return totals
    factors = np.ones(len(totals))
    for batch, own in rows.items():
        # A batch that is too small to show it is taken to be as the one with the nearest totals.
        like = min(known, key=lambda other: (other != batch, abs(sizes[other] - sizes[batch])))
        factors[own] = known[like]
    return np.asarray(totals / factors)


def reads_per_molecule(logs: Csr, totals: FloatArray) -> float | None:
    """Return how many counts one molecule gives in the cells of a batch, about 1 to 2 for counts of molecules.

    Parameters
    ----------
    logs
        CSR of float32, shape (n_cells, n_genes): log values of counts per 10,000.
    totals
        Shape (n_cells,), above 0: total of each cell over all genes.

    Returns
    -------
    float
        None if too few cells or genes show it.
    """
    if logs.shape[0] < _FEWEST_CELLS:
        return None
    means, seen = _means(logs, totals), np.bincount(logs.indices, minlength=logs.shape[1])
    shares = seen / logs.shape[0]
    asked = (shares >= _SEEN_IN[0]) & (shares <= _SEEN_IN[1])
    if asked.sum() < _FEWEST_GENES:
        return None
    molecules = -np.log1p(-shares[asked])
    return float(np.quantile(means[asked] / molecules, _QUANTILE))


def _means(logs: Csr, totals: FloatArray) -> NDArray[np.float64]:
    """Return the mean count of each gene: shape (n_genes,)."""
    factors = np.repeat(size_factors(totals).astype(np.float64), np.diff(logs.indptr))
    counts = np.expm1(logs.data.astype(np.float64)) * factors
    sums = np.bincount(logs.indices, counts, minlength=logs.shape[1])
    return np.asarray(sums / logs.shape[0], np.float64)
