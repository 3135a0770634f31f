"""Gaussians of one covariance in several sizes, and the climb of their likelihood (expectation and maximisation).

All components vary in the same directions. How much is a number of each component, its size, which is drawn towards
one: as if ``n_held`` further points of each component had shown the shared covariance (an inverse gamma prior). With
infinitely many, all sizes are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["Climb", "Mixture"]

_LEAST_GAIN = 1e-5
"""Rounds end when the mean log likelihood of a point gains less."""

_LEAST_VARIANCE = 1e-6
"""Added to the variance of each dimension, as a share of the mean variance of the points."""


class Mixture(NamedTuple):
    """A mixture of Gaussians with one covariance, times a size."""

    means: FloatArray
    """shape (n_components, n_dims)"""
    shares: FloatArray
    """shape (n_components,)"""
    sizes: FloatArray
    """shape (n_components,): by what the covariance is multiplied"""
    precision: FloatArray
    """inverse of the covariance, shape (n_dims, n_dims)"""
    log_likelihood: float
    """mean of the points that it was fitted on, with the prior of the sizes, as it was before the last round"""

    def scores(self, points: FloatArray) -> NDArray[np.float64]:
        """Return the log density of each component times its share: shape (n_components, n_points).

        Up to a number of each point: half of its squared length in units of the covariance is left out.
        """
        slopes = self.means @ self.precision
        scores: NDArray[np.float64] = slopes @ points.T
        scores -= 0.5 * (slopes * self.means).sum(axis=1)[:, None]
        if (self.sizes != 1).any():
            squared = np.einsum("ij,ij->i", points @ self.precision, points)
            scores /= self.sizes[:, None]
            scores -= 0.5 * np.outer(1 / self.sizes - 1, squared)
        scores += (np.log(self.shares) - 0.5 * points.shape[1] * np.log(self.sizes))[:, None]
        return scores

    def labels(self, points: FloatArray) -> IntArray:
        """Return the most likely component of each point, shape (n_points,)."""
        return np.asarray(self.scores(points).argmax(axis=0))


class Climb:
    """Points on which the likelihood of mixtures is climbed.

    Parameters
    ----------
    points
        ndarray of float64, shape (n_points, n_dims); best with a mean near zero.
    n_held
        Points that draw the size of a component to one.
    """

    def __init__(self, points: FloatArray, n_held: float) -> None:
        self.points, self._n_held = points, n_held
        d = points.shape[1]
        # The mean variance of the points themselves, so that the least variance means the same at any scale.
        variance = max(float(points.var(axis=0).mean()), 1e-30)
        self._floor = _LEAST_VARIANCE * variance * np.eye(d)
        self._scatter = points.T @ points
        self._upper = np.triu_indices(d)
        if np.isfinite(n_held):
            # Products of all pairs of dimensions: with these, the scatter of each component is one matrix product.
            self._products = points[:, self._upper[0]] * points[:, self._upper[1]]

    def begun(self, labels: IntArray, n_components: int) -> Mixture:
        """Return the mixture of the parts of a partition."""
        members = np.zeros((n_components, len(labels)))
        members[labels, np.arange(len(labels))] = 1
        return self._fitted(members, np.ones(n_components), -np.inf)

    def climbed(self, model: Mixture, n_rounds: int) -> Mixture:
        """Return the mixture after so many rounds, or when they gain no more."""
        for _ in range(n_rounds):
            before = model.log_likelihood
            members, log_likelihood = self._memberships(model)
            model = self._fitted(members, model.sizes, log_likelihood)
            if abs(log_likelihood - before) < _LEAST_GAIN:
                break
        return model

    def _memberships(self, model: Mixture) -> tuple[NDArray[np.float64], float]:
        """Return the probability of each component for each point, and the mean log likelihood.

        Each component is a row, so sums over components run along whole rows.
        """
        n, d = self.points.shape
        members = model.scores(self.points)
        largest = members.max(axis=0)
        members -= largest
        np.exp(members, out=members)
        sums = members.sum(axis=0)
        members /= sums
        # Of each point, the scores leave out half of its squared length; the mean of these is that of the scatter.
        squared = (model.precision * self._scatter).sum() / n
        common = 0.5 * (np.linalg.slogdet(model.precision)[1] - d * np.log(2 * np.pi) - squared)
        log_likelihood = float((largest + np.log(sums)).mean()) + common
        if np.isfinite(self._n_held):
            prior = (np.log(model.sizes) + 1 / model.sizes - 1).sum()
            log_likelihood -= 0.5 * d * self._n_held / n * prior
        return members, log_likelihood

    def _fitted(self, members: FloatArray, sizes: FloatArray, log_likelihood: float) -> Mixture:
        """Return a likelier mixture from the probabilities of the components and the sizes of the round before."""
        n, d = self.points.shape
        cells = members.sum(axis=1) + 1e-9
        means = members @ self.points / cells[:, None]
        if np.isinf(self._n_held):
            # If all sizes are one, the scatter within components is that of the points less that of the means.
            within = self._scatter - (means.T * cells) @ means
            precision = np.linalg.inv(within / n + self._floor)
        else:
            scatters = self._scatters(members, means, cells)
            precision = np.linalg.inv(np.tensordot(1 / sizes, scatters, 1) / n + self._floor)
            spread = np.einsum("kij,ij->k", scatters, precision)
            sizes = (spread / d + self._n_held) / (cells + self._n_held)
        return Mixture(means, cells / n, sizes, precision, log_likelihood)

    def _scatters(
        self, members: FloatArray, means: FloatArray, cells: FloatArray
    ) -> NDArray[np.float64]:
        """Return the sums of squares of each component about its mean: shape (n_components, n_dims, n_dims)."""
        d = means.shape[1]
        squares = np.empty((len(means), d, d))
        rows, columns = self._upper
        squares[:, rows, columns] = members @ self._products
        squares[:, columns, rows] = squares[:, rows, columns]
        squares -= np.einsum("k,ki,kj->kij", cells, means, means)
        return squares
