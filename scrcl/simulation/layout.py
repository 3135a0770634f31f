"""Which cells there are: the sizes of types and samples, and the order of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import stream
from scrcl.simulation.tissue import Tissue

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["CellPlan", "apportion", "plan_cells", "type_sizes"]

SIZE_ORDERS = 3.0
MIN_TYPE_CELLS = 10
SAMPLE_SIZE_SD = 0.4
SAMPLE_MIX_SD = 0.4


@dataclass(frozen=True)
class CellPlan:
    """Type, sample and place of every cell; a sample is a run of cells.

    Parameters
    ----------
    types
        Type of each cell, the smallest unsigned integers that hold it, shape (n_cells,).
    starts
        First cell of each sample, and the end, int64, shape (n_samples + 1,).
    counts
        Cells of each sample and type, int64, shape (n_samples, n_types).
    domains
        Tissue domain of each cell, uint8, shape (n_cells,); None without a layout.
    positions
        Place of each cell in micrometres, float32, shape (n_cells, 2); None without a layout.
    """

    types: IntArray
    starts: IntArray
    counts: IntArray
    domains: IntArray | None
    positions: FloatArray | None


def type_sizes(n_cells: int, n_types: int, rng: np.random.Generator) -> IntArray:
    """Return the cells of each type, int64, over three orders of magnitude where cells suffice."""
    weights = 10 ** -np.linspace(0, SIZE_ORDERS, n_types)
    return apportion(rng.permutation(weights), n_cells, least=MIN_TYPE_CELLS)


def apportion(weights: FloatArray | IntArray, total: int, *, least: int = 1) -> IntArray:
    """Return integers near the proportions of ``weights`` that sum to ``total``, int64.

    Each is ``least`` or more where the total allows it, and never 0 where the total is as large
    as the number of weights.
    """
    least = min(least, total // len(weights))
    exact: FloatArray = weights / weights.sum() * (total - least * len(weights))
    whole = np.floor(exact).astype(np.int64)
    short = total - least * len(weights) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:short]] += 1
    whole += least
    return whole


def plan_cells(sizes: IntArray, n_samples: int, *, seed: int, spatial: bool) -> CellPlan:
    """Return the plan of ``sizes.sum()`` cells."""
    counts = _sample_counts(sizes, n_samples, stream(seed, "io.simulate.samples"))
    n_types = len(sizes)
    types: list[IntArray] = []
    domains: list[IntArray] = []
    positions: list[FloatArray] = []
    tissue = Tissue.make(counts, stream(seed, "io.simulate.tissue")) if spatial else None
    for sample, row in enumerate(counts):
        rng = stream(seed, "io.simulate.order", sample)
        if tissue is None:
            order = rng.permutation(np.repeat(np.arange(n_types), row))
        else:
            order, where, places = tissue.slice(sample, row, rng)
            domains.append(where)
            positions.append(places)
        types.append(order.astype(np.min_scalar_type(n_types)))
    return CellPlan(
        types=np.concatenate(types),
        starts=np.concatenate([[0], np.cumsum(counts.sum(axis=1))]).astype(np.int64),
        counts=counts,
        domains=np.concatenate(domains) if tissue else None,
        positions=np.concatenate(positions) if tissue else None,
    )


def _sample_counts(sizes: IntArray, n_samples: int, rng: np.random.Generator) -> IntArray:
    """Return cells by sample and type, whose sums over samples are ``sizes``; no sample is empty."""
    shares = rng.lognormal(0, SAMPLE_SIZE_SD, (n_samples, 1))
    mix = shares * rng.lognormal(0, SAMPLE_MIX_SD, (n_samples, len(sizes)))
    counts = np.stack(
        [apportion(column, size, least=0) for column, size in zip(mix.T, sizes, strict=True)],
        axis=1,
    )
    for sample in np.flatnonzero(counts.sum(axis=1) == 0):
        giver = int(np.argmax(counts.sum(axis=1)))
        kind = int(np.argmax(counts[giver]))
        counts[giver, kind] -= 1
        counts[sample, kind] += 1
    return counts
