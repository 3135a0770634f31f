"""Slices of a simulated tissue: spatial domains, each with its own mix of cell types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Tissue"]

_CELL_SPACING = 10.0
"""Approximate distance of neighbours in micrometres; it determines the side of a slice."""
_PATCHES = 3
"""Patches of each domain in a slice."""
_AFFINITY = 0.3
_BALANCING_STEPS = 100


@dataclass(frozen=True)
class Tissue:
    """A layout of spatial domains. All slices share it, with small shifts.

    Parameters
    ----------
    sites
        Centres of the patches in the unit square, shape (3 * n_domains, 2). Site i belongs to domain i modulo
        n_domains.
    affinity
        Preference of each type for each domain, shape (n_types, n_domains).
    side
        Distance between the corners of neighbouring slices, in micrometres.
    columns
        Number of slices in a row of slices.
    """

    sites: FloatArray
    affinity: FloatArray
    side: float
    columns: int

    @classmethod
    def make(cls, counts: IntArray, rng: np.random.Generator) -> Tissue:
        """Return a tissue for these numbers of cells by sample and type, with one domain per four types."""
        n_samples, n_types = counts.shape
        n_domains = int(np.clip(n_types // 4, 3, 12))
        mixes = rng.dirichlet(np.full(n_domains, _AFFINITY), n_types)
        return cls(
            sites=rng.random((n_domains * _PATCHES, 2)),
            affinity=mixes + 0.1 / n_domains,
            side=1.2 * _CELL_SPACING * float(np.sqrt(counts.sum(axis=1).max())),
            columns=int(np.ceil(np.sqrt(n_samples))),
        )

    def slice(
        self, sample: int, counts: IntArray, rng: np.random.Generator
    ) -> tuple[IntArray, IntArray, FloatArray]:
        """Return type, domain and coordinates of the cells of one slice.

        Slices do not touch, so that no cell has a neighbour from another sample.

        Parameters
        ----------
        sample
            Number of the slice; it determines where the slice is.
        counts
            Number of cells of each type, shape (n_types,); kept exactly.
        rng
            Generator of this slice only.
        """
        n_cells, n_domains = int(counts.sum()), self.affinity.shape[1]
        points = rng.random((n_cells, 2))
        sites = self.sites + rng.normal(0, 0.02, self.sites.shape)
        domains = cKDTree(sites).query(points)[1] % n_domains
        wanted = _balance(self.affinity, counts, np.bincount(domains, minlength=n_domains))
        # Types have a wanted domain, and points the domain they are in. Both are sorted by domain and matched.
        # Rounding makes their numbers differ, so a few cells per domain get a type that was meant for the next one.
        rows = [_round(row, int(count)) for row, count in zip(wanted, counts, strict=True)]
        cells = rng.permutation(np.repeat(np.arange(wanted.size), np.concatenate(rows)))
        by_domain = np.argsort(cells % n_domains, kind="stable")
        types = np.empty(n_cells, dtype=np.int64)
        types[np.argsort(domains, kind="stable")] = cells[by_domain] // n_domains
        corner = self.side * np.array([sample % self.columns, sample // self.columns])
        coordinates = corner + points * _CELL_SPACING * np.sqrt(n_cells)
        return types, domains.astype(np.uint8), coordinates.astype(np.float32)


def _balance(affinity: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return ``affinity`` scaled to these sums of rows and columns; the sums of columns are exact.

    References
    ----------
    Deming, Stephan (1940), Annals of Mathematical Statistics 11:427: iterative proportional fitting.
    """
    table = affinity.copy()
    for _ in range(_BALANCING_STEPS):
        table *= (rows / table.sum(axis=1).clip(min=1e-12))[:, None]
        table *= columns / table.sum(axis=0).clip(min=1e-12)
    return table


def _round(row: FloatArray, total: int) -> IntArray:
    """Return integers near ``row`` that sum to ``total``: differences of rounded cumulative sums."""
    ends = np.cumsum(row)
    ends = np.rint(ends * (total / max(float(ends[-1]), 1e-12))).astype(np.int64)
    whole: IntArray = np.diff(ends, prepend=0)
    return whole
