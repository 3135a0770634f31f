"""Negative log likelihood of counts under a zero-inflated negative binomial distribution.

Most counts are zero, and a zero needs no gamma functions. So zeros are computed for whole matrices in
float32, and all other counts one by one in float64, where differences of gamma functions keep their digits.
"""

# Shapes: B = cells, M = genes, P = counts above zero.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import softplus

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Counts", "Zinb", "zinb_loss"]

_LEAST_LOG_MEAN, _MOST_LOG_MEAN = -11.5, 13.8
"""Means from 1e-5 to 1e6, before size factors."""
_LEAST_DISPERSION, _MOST_DISPERSION = 1e-4, 1e4


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of some cells that are not zero.

    Attributes
    ----------
    at_p
        Tensor of int64, shape (P,): position in the flattened (cells, genes) matrix.
    counts_p
        Tensor of float32 or float64, shape (P,).
    log_factors_b
        Tensor of shape (B,): logarithm of each cell's size factor.
    """

    at_p: Tensor
    counts_p: Tensor
    log_factors_b: Tensor


@dataclass(frozen=True, eq=False)
class Zinb:
    """Outputs of the decoder's three heads, any real numbers, shape (B, M).

    Attributes
    ----------
    mean
        Logarithm of the mean, for a size factor of 1.
    dispersion
        Softplus of it is the dispersion.
    dropout
        Sigmoid of it is the probability of a zero that the counts do not explain.
    """

    mean: Tensor
    dispersion: Tensor
    dropout: Tensor


def zinb_loss(heads: Zinb, counts: Counts) -> Tensor:
    """Return the sum over all entries of the negative log likelihood, without gradient overflow.

    Means and dispersions are limited to the ranges of the method's authors, so that zeros, huge counts and
    tiny dispersions have finite values and gradients.

    References
    ----------
    Lee et al.: Deep single-cell RNA-seq data clustering with graph prototypical contrastive learning.
    Bioinformatics 39(6), 2023.
    """
    log_mean = heads.mean.clamp(_LEAST_LOG_MEAN, _MOST_LOG_MEAN) + counts.log_factors_b[:, None]
    theta = softplus(heads.dispersion).clamp(_LEAST_DISPERSION, _MOST_DISPERSION)
    # log of NB(0): theta log(theta / (theta + mean)).
    nb_zero = -theta * torch.log1p(log_mean.exp() / theta)
    of_zeros = softplus(-heads.dropout) - softplus(nb_zero - heads.dropout)
    at_p = counts.at_p
    instead = _of_counts(
        log_mean.flatten()[at_p].double(),
        theta.flatten()[at_p].double(),
        heads.dropout.flatten()[at_p].double(),
        counts.counts_p.double(),
    )
    more_p = instead - of_zeros.flatten()[at_p].double()
    return of_zeros.sum() + more_p.sum().to(of_zeros.dtype)


def _of_counts(log_mean_p: Tensor, theta_p: Tensor, dropout_p: Tensor, counts_p: Tensor) -> Tensor:
    """Return the negative log likelihood of each count above zero."""
    log_total_p = torch.log(theta_p + log_mean_p.exp())
    nb_p = (
        torch.lgamma(counts_p + theta_p)
        - torch.lgamma(theta_p)
        - torch.lgamma(counts_p + 1)
        - theta_p * torch.log1p(log_mean_p.exp() / theta_p)
        + counts_p * (log_mean_p - log_total_p)
    )
    # log(1 - pi) = -softplus(dropout).
    return softplus(dropout_p) - nb_p
