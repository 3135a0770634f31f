"""Evidence that two groups of cells are two types: the valley between them, in several spaces and within batches.

A correction for batches may move one type onto another that its batch lacks, or has few cells of. So the same cells are
also compared as they were before the correction, within one batch at a time: there, no difference is due to batches. A
valley that shows in either way counts.

Parts of one cluster may be compared in spaces of its own (`scrcl.cluster.divided`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import stream
from scrcl.cluster.valley import valley_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.cluster.protocol import Representations
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["VALLEY_COMPS", "Evidence", "Uncorrected", "evidence_of"]

VALLEY_COMPS = 15
"""Components in which valleys are measured. Later ones hold more noise than structure, and the axis between two
clusters is estimated from the cells of these alone."""

_MOST_CELLS = 800
"""Cells of a group that show its valleys."""

_LEAST_OF_BATCH = 15
"""Cells that each group must have in a batch to be compared within it. Fewer show a valley too roughly for it to count
where all cells together show none (``bench.batches.donors``)."""


class Uncorrected(NamedTuple):
    """The batches of some cells, and the spaces of the cells before they were corrected for these."""

    codes: IntArray
    """shape (n_some,)"""
    spaces: Sequence[FloatArray]
    """shape (n_some, n_dims) each"""

    def of(self, some: BoolArray) -> Uncorrected:
        """Return some of the cells."""
        return Uncorrected(self.codes[some], [space[some] for space in self.spaces])

    def leading(self, n_dims: int) -> Uncorrected:
        """Return the same cells in fewer dimensions."""
        return self._replace(spaces=[space[:, :n_dims] for space in self.spaces])


class Evidence:
    """Some cells in one or several spaces, which show how far two groups of them are apart.

    Parameters
    ----------
    cells
        ndarray of int, shape (n_some,): their positions among all cells, ascending.
    spaces
        Arrays of float, shape (n_some, n_dims) each: representations of these cells.
    uncorrected
        The same cells before a correction for batches; None if there was none.
    """

    def __init__(
        self,
        cells: IntArray,
        spaces: Sequence[FloatArray],
        *,
        seed: int,
        uncorrected: Uncorrected | None = None,
    ) -> None:
        self.cells, self.spaces = cells, spaces
        self._uncorrected = uncorrected
        # One random order for all groups. So a draw does not depend on earlier ones.
        self._rank = stream(seed, "cluster.evidence").permutation(len(cells))
        # Of each cell: its place among those that are compared inside a cluster, and which of these it belongs to.
        self._inside: list[Evidence] = []
        self._inside_of, self._place = np.full((2, len(cells)), -1)

    def compare_inside(self, group: IntArray, shown: IntArray, own: Evidence) -> None:
        """Compare parts of a group by evidence of its own from now on.

        Parameters
        ----------
        group
            ndarray of int: all cells of the group, by positions among these cells.
        shown
            ndarray of int, ascending: those that the other evidence has, in its order.
        own
            Evidence of these.
        """
        self._inside_of[group] = len(self._inside)
        self._place[shown] = np.arange(len(shown))
        self._inside.append(own)

    def support(self, a: IntArray, b: IntArray) -> float:
        """Return how deep the valley between two groups is, given by positions among these cells.

        It is the mean depth over all spaces, or that within batches if this is larger.

        Returns
        -------
        float
            -1 if a group has too few cells for a valley.
        """
        own = self._inside_of_both(a, b)
        if own is not None:
            places = (self._place[group] for group in (a, b))
            return own.support(*(place[place >= 0] for place in places))
        depth = self._depth(self.spaces, a, b)
        within = self.within_batches(a, b)
        return within if np.isnan(depth) else max(depth, within)

    def within_batches(self, a: IntArray, b: IntArray) -> float:
        """Return how deep the valley between two groups is within batches, as the cells were before the correction.

        Returns
        -------
        float
            -1 without a correction, or if no batch has enough cells of both groups.
        """
        if self._uncorrected is None:
            return -1.0
        depth = self._depth_within_batches(self._uncorrected, a, b)
        return -1.0 if np.isnan(depth) else depth

    def _inside_of_both(self, a: IntArray, b: IntArray) -> Evidence | None:
        """Return the evidence of the cluster that two groups are parts of, if it has its own."""
        if not self._inside:
            return None
        of = self._inside_of[np.concatenate([a, b])]
        is_one = len(of) > 0 and of[0] >= 0 and bool((of == of[0]).all())
        return self._inside[of[0]] if is_one else None

    def means(self, group: IntArray) -> list[FloatArray]:
        """Return the mean of a group in each space."""
        return [space[group].mean(axis=0, dtype=np.float64) for space in self.spaces]

    def _depth_within_batches(self, cells: Uncorrected, a: IntArray, b: IntArray) -> float:
        """Return the mean depth over the batches that have both groups, weighted by the smaller group; NaN for none."""
        of_a, of_b = cells.codes[a], cells.codes[b]
        depths, weights = [], []
        for batch in np.intersect1d(of_a, of_b):
            own_a, own_b = a[of_a == batch], b[of_b == batch]
            n_smaller = min(len(own_a), len(own_b))
            if n_smaller >= _LEAST_OF_BATCH:
                depths.append(self._depth(cells.spaces, own_a, own_b))
                weights.append(n_smaller)
        return float(np.average(depths, weights=weights)) if depths else float("nan")

    def _depth(self, spaces: Sequence[FloatArray], a: IntArray, b: IntArray) -> float:
        some_a, some_b = self._some(a), self._some(b)
        shares = {"share_a": len(some_a) / max(len(a), 1), "share_b": len(some_b) / max(len(b), 1)}
        return float(
            np.mean([valley_depth(space[some_a], space[some_b], **shares) for space in spaces])
        )

    def _some(self, group: IntArray) -> IntArray:
        return group[np.argsort(self._rank[group])[:_MOST_CELLS]]


def evidence_of(cells: IntArray, found: Representations, seed: int) -> Evidence:
    """Return what representations of some cells show of how far groups of these are apart."""
    valleys = [scores[:, :VALLEY_COMPS] for scores in found.scores]
    uncorrected = found.uncorrected and found.uncorrected.leading(VALLEY_COMPS)
    return Evidence(cells, valleys, seed=seed, uncorrected=uncorrected)
