"""The cells of a simulated atlas: sizes of types and samples, and the order of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import stream
from scrcl.simulation.tissue import Tissue

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["CellPlan", "apportion", "plan_cells", "type_sizes"]

_MIN_TYPE_CELLS = 10
_SAMPLE_SIZE_SD = 0.4
_SAMPLE_MIX_SD = 0.4


@dataclass(frozen=True)
class CellPlan:
    """Type, sample and coordinates of every cell. The cells of a sample are consecutive.

    Parameters
    ----------
    types
        Type of each cell, in the smallest unsigned integers that suffice, shape (n_cells,).
    starts
        First cell of each sample, and the end: int64, shape (n_samples + 1,).
    counts
        Number of cells of each sample and type: int64, shape (n_samples, n_types).
    domains
        Spatial domain of each cell, uint8, shape (n_cells,); None if the atlas is not spatial.
    coordinates
        Coordinates of each cell in micrometres, float32, shape (n_cells, 2); None if the atlas is not spatial.
    """

    types: IntArray
    starts: IntArray
    counts: IntArray
    domains: IntArray | None
    coordinates: FloatArray | None


def type_sizes(n_cells: int, n_types: int, rng: np.random.Generator, *, orders: float) -> IntArray:
    """Return the number of cells of each type, int64: over some orders of magnitude, if there are enough cells."""
    weights = 10 ** -np.linspace(0, orders, n_types)
    return apportion(rng.permutation(weights), n_cells, least=_MIN_TYPE_CELLS)


def apportion(weights: FloatArray | IntArray, total: int, *, least: int = 1) -> IntArray:
    """Return integers, int64, that sum to ``total`` and are nearly proportional to ``weights``.

    Each is at least ``least``, or ``total // len(weights)`` if that is less.
    """
    least = min(least, total // len(weights))
    exact: FloatArray = weights / weights.sum() * (total - least * len(weights))
    whole = np.floor(exact).astype(np.int64)
    # The largest remainders are rounded up, as many as are missing from the total.
    missing = total - least * len(weights) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    whole += least
    return whole


def plan_cells(
    sizes: IntArray,
    n_samples: int,
    *,
    seed: int,
    spatial: bool,
    missing_types: float = 0.0,
    n_own_types: int = 0,
) -> CellPlan:
    """Return the plan of ``sizes.sum()`` cells.

    Parameters
    ----------
    missing_types
        Share of the samples that lack a type. At least one has it.
    n_own_types
        Number of types, the last ones, that one sample alone has.
    """
    has_type = _types_of_samples(
        n_samples, len(sizes), missing_types, n_own_types, stream(seed, "io.simulate.missing")
    )
    counts = _sample_counts(sizes, has_type, stream(seed, "io.simulate.samples"))
    n_types = len(sizes)
    types: list[IntArray] = []
    domains: list[IntArray] = []
    coordinates: list[FloatArray] = []
    tissue = Tissue.make(counts, stream(seed, "io.simulate.tissue")) if spatial else None
    for sample, row in enumerate(counts):
        rng = stream(seed, "io.simulate.order", sample)
        if tissue is None:
            order = rng.permutation(np.repeat(np.arange(n_types), row))
        else:
            order, sample_domains, sample_coordinates = tissue.slice(sample, row, rng)
            domains.append(sample_domains)
            coordinates.append(sample_coordinates)
        types.append(order.astype(np.min_scalar_type(n_types)))
    return CellPlan(
        types=np.concatenate(types),
        starts=np.concatenate([[0], np.cumsum(counts.sum(axis=1))]).astype(np.int64),
        counts=counts,
        domains=np.concatenate(domains) if tissue else None,
        coordinates=np.concatenate(coordinates) if tissue else None,
    )


def _types_of_samples(
    n_samples: int, n_types: int, missing: float, n_own: int, rng: np.random.Generator
) -> BoolArray:
    """Return which sample has which type: bool, shape (n_samples, n_types)."""
    ranks = rng.random((n_samples, n_types)).argsort(axis=0)
    lacking = np.full(n_types, min(int(missing * n_samples), n_samples - 1))
    lacking[n_types - min(n_own, n_types) :] = n_samples - 1
    return np.asarray(ranks >= lacking)


def _sample_counts(sizes: IntArray, has_type: BoolArray, rng: np.random.Generator) -> IntArray:
    """Return numbers of cells by sample and type. They sum to ``sizes`` over samples, and no sample is empty."""
    n_samples = len(has_type)
    shares = rng.lognormal(0, _SAMPLE_SIZE_SD, (n_samples, 1))
    mix = has_type * shares * rng.lognormal(0, _SAMPLE_MIX_SD, (n_samples, len(sizes)))
    counts = np.stack(
        [apportion(column, size, least=0) for column, size in zip(mix.T, sizes, strict=True)],
        axis=1,
    )
    for sample in np.flatnonzero(counts.sum(axis=1) == 0):
        largest = int(np.argmax(counts.sum(axis=1)))
        kind = int(np.argmax(counts[largest]))
        counts[largest, kind] -= 1
        counts[sample, kind] += 1
    return counts
