"""The number of spatial domains, counted from the likelihood of mixtures.

The likelihood grows with each further component. It grows much as long as components separate domains that differ, and
little and evenly once they cut gradients inside of domains. Three rules find where this changes, and the middle one of
their numbers is taken. Two rules look for a bend: two straight lines, one up to the number and one from it on, are
fitted to the curve of the likelihood, of 12 components and of 14. A bend moves if a curve is one or two components
longer, so two lengths are used. The third is the Bayesian information criterion for as many observations as are
independent. Averages of near cells share most of their cells, so there are far fewer such observations than cells: one
for as many cells as an average is made of. Alone, this rule finds one domain in small slices.

Slices of one tissue have the same domains, but at some places they differ more than domains do. So each slice is
counted by itself, and the median counts.

References
----------
Salvador and Chan: Determining the number of clusters/segments in hierarchical clustering/segmentation algorithms,
16th IEEE International Conference on Tools with Artificial Intelligence (2004), 576-584: the L method. Schwarz:
Estimating the dimension of a model, Annals of Statistics 6 (1978), 461-464.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.algorithms.mixture import fit_mixture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray, IntArray

__all__ = ["CountedDomains", "by_information", "count_domains", "elbow"]

_MOST_DOMAINS = 14
"""Domains that are tried."""

_FEWER_DOMAINS = 12
"""Length of the curve of the other bend. Longer curves place the bend later, by one or two."""

_COUNTED_CELLS = 5_000
_MOST_SLICES = 9
_CELLS_PER_DOMAIN = 20
"""Least cells of a slice for each domain that is tried."""

_STARTS = 6


class CountedDomains(NamedTuple):
    """A number of domains, at least 2, and what it comes from."""

    n_clusters: int
    estimates: tuple[tuple[int, ...], ...]
    """the three numbers of each slice that was counted, ascending"""


def count_domains(
    points: FloatArray, *, samples: CellLabels | None, overlap: float, seed: int
) -> CountedDomains:
    """Return the number of domains.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_cells, n_dims): averages over the tissue.
    samples
        The slice of each cell. The nine largest are counted; of an even number, the lower middle one is taken.
    overlap
        Cells that an average is made of, at least 1.

    Notes
    -----
    At most 5,000 cells of a slice are read. A slice of fewer than 80 cells is too small to count in; if all are, all
    cells are counted together, and if there are fewer, the number is 2.
    """
    found: list[tuple[int, ...]] = []
    for rows, n_cells in _slices(len(points), samples, seed):
        curve = _likelihoods(np.asarray(points[rows], np.float64), seed)
        n_independent = min(len(rows), n_cells / overlap)
        three = (
            elbow(curve[:_FEWER_DOMAINS]),
            elbow(curve),
            by_information(curve, points.shape[1], n_independent),
        )
        found.append(tuple(sorted(three)))
    middle = sorted(three[1] for three in found)[(len(found) - 1) // 2]
    # The middle one is at least 2: both bends are.
    return CountedDomains(middle, tuple(found))


def elbow(values: Sequence[float]) -> int:
    """Return the number at which a curve bends: of two least-squares lines that meet there, the error is the smallest.

    Parameters
    ----------
    values
        The curve at 1, 2, ... It should never fall; where it does, a better maximum was missed, and it is held.

    Returns
    -------
    int
        2 to ``len(values) - 2``; 2 for fewer than five values.
    """
    curve = np.maximum.accumulate(np.asarray(values, np.float64))
    numbers = np.arange(1, len(curve) + 1)

    def error(bend: int) -> float:
        return sum(
            float(np.square(curve[part] - np.polyval(line, numbers[part])).sum())
            for part in (slice(0, bend), slice(bend - 1, None))
            for line in [np.polyfit(numbers[part], curve[part], 1)]
        )

    return min(range(2, len(curve) - 1), key=error, default=2)


def by_information(values: Sequence[float], n_dims: int, n_observations: float) -> int:
    """Return the number of components of the best Bayesian information criterion.

    Parameters
    ----------
    values
        Mean log likelihood of an observation with 1, 2, ... components.
    n_observations
        Independent observations.
    """
    curve = np.maximum.accumulate(np.asarray(values, np.float64))
    numbers = np.arange(1, len(curve) + 1)
    # The shared covariance is in all of them.
    n_parameters = numbers * n_dims + numbers - 1
    gains = n_observations * curve - 0.5 * np.log(max(n_observations, 2)) * n_parameters
    return int(numbers[np.argmax(gains)])


def _likelihoods(points: FloatArray, seed: int) -> list[float]:
    """Return the mean log likelihood of a cell with 1, 2, ... components."""
    most = min(_MOST_DOMAINS, len(points) // _CELLS_PER_DOMAIN)
    return [
        fit_mixture(
            points, k, n_starts=_STARTS if k > 1 else 1, seed=seed, n_moved=1
        ).log_likelihood
        for k in range(1, most + 1)
    ]


def _slices(n_cells: int, samples: CellLabels | None, seed: int) -> Iterator[tuple[IntArray, int]]:
    """Yield the cells of each slice that is counted, and how many it has in all."""
    groups = [np.arange(n_cells)]
    if samples is not None:
        sizes = np.bincount(samples.codes)
        largest = np.argsort(-sizes, kind="stable")[:_MOST_SLICES]
        enough = [code for code in largest if sizes[code] >= 4 * _CELLS_PER_DOMAIN]
        groups = [np.flatnonzero(samples.codes == code) for code in enough] or groups
    for rows in groups:
        yield rows[drawn_rows(len(rows), _COUNTED_CELLS, seed, "count.domains")], len(rows)
