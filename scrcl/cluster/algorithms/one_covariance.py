"""Gaussians that share one covariance, and the climb of their likelihood (expectation and maximisation).

With one covariance the logarithms of the densities differ by a linear function of the point, and what is common to all
components follows from the sums of squares of all points. So a round takes one product of points and means.
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
    """A mixture of Gaussians with one covariance."""

    means: FloatArray
    """shape (n_components, n_dims)"""
    shares: FloatArray
    """shape (n_components,)"""
    precision: FloatArray
    """inverse of the covariance, shape (n_dims, n_dims)"""
    log_likelihood: float
    """mean of the points that it was fitted on, as it was before the last round"""

    def scores(self, points: FloatArray) -> FloatArray:
        """Return the log density of each component times its share, up to what all components of a point have alike."""
        slopes = self.means @ self.precision
        heights = np.log(self.shares) - 0.5 * (slopes * self.means).sum(axis=1)
        return np.asarray(points @ slopes.T + heights)

    def labels(self, points: FloatArray) -> IntArray:
        """Return the most likely component of each point, shape (n_points,)."""
        return np.asarray(self.scores(points).argmax(axis=1))


class Climb:
    """Points on which the likelihood of mixtures is climbed.

    Parameters
    ----------
    points
        ndarray of float64, shape (n_points, n_dims); best with a mean near zero.
    """

    def __init__(self, points: FloatArray) -> None:
        self.points = points
        n, d = points.shape
        self._scatter = points.T @ points / n
        # A length of the set itself, so that the least variance means the same at any scale.
        variance = max(float(points.var(axis=0).mean()), 1e-30)
        self._floor = _LEAST_VARIANCE * variance * np.eye(d)

    def begun(self, labels: IntArray, n_components: int) -> Mixture:
        """Return the mixture of the parts of a partition."""
        return self._fitted(np.eye(n_components)[labels], -np.inf)

    def climbed(self, model: Mixture, n_rounds: int) -> Mixture:
        """Return the mixture after so many rounds, or when they gain no more."""
        for _ in range(n_rounds):
            before = model.log_likelihood
            model = self._fitted(*self._memberships(model))
            if abs(model.log_likelihood - before) < _LEAST_GAIN:
                break
        return model

    def _memberships(self, model: Mixture) -> tuple[NDArray[np.float64], float]:
        """Return the probability of each component for each point, and the mean log likelihood."""
        scores = model.scores(self.points)
        largest = scores.max(axis=1, keepdims=True)
        members = np.exp(scores - largest)
        sums = members.sum(axis=1, keepdims=True)
        members /= sums
        common = np.linalg.slogdet(model.precision)[1] - float(
            (model.precision * self._scatter).sum() + len(self._floor) * np.log(2 * np.pi)
        )
        return members, float((largest + np.log(sums)).mean()) + 0.5 * common

    def _fitted(self, members: FloatArray, log_likelihood: float) -> Mixture:
        """Return the most likely mixture where these are the probabilities of the components."""
        n = len(self.points)
        sizes = members.sum(axis=0) + 1e-9
        means = members.T @ self.points / sizes[:, None]
        covariance = self._scatter - (means * (sizes / n)[:, None]).T @ means + self._floor
        return Mixture(means, sizes / n, np.linalg.inv(covariance), log_likelihood)
