"""Symmetric KL divergences of cells' softened embeddings, as inner products.

With logits ``l = e / t`` and ``p = softmax(l)``, log-partitions cancel from the divergence of
cells i and j: ``kappa_ij = (p_i - q_j) . (l_i - l'_j)``. As each distribution sums to one, any
number may be added to a row of logits. A shift of each row by its own mean, ``r = l - p . l``,
leaves

    kappa_ij = - (p_i . r'_j + r_i . q_j) = - key_i . target_j,

with ``key = [p | r]`` and ``target = [r' | q]``: the divergence over pairs is a sampled product,
and its mean over all cells is the key times the mean target. It also lets float32 keep the small
divergences of aligned views: entropies near log d, subtracted from each other, would lose them.

`soften` carries its own gradient, which saves two thirds of the passes over memory that autograd
would make of it.

References
----------
scRCL (arXiv 2512.10640), Eq. 5.
"""

# Shapes: A = cells, D = dim.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Softened", "soften"]


@dataclass(frozen=True, eq=False)
class Softened:
    """Softmax of rows of unit length.

    Attributes
    ----------
    features
        Tensor of shape (A, 2D): ``[p | r]`` of a key, ``[r | p]`` of a target.
    mean_logit_a
        ``p . l``, shape (A,).
    partition_a
        ``sum_d exp(l_d - 1 / t)``, shape (A,); at most D.
    """

    features: Tensor
    mean_logit_a: Tensor
    partition_a: Tensor


def soften(e_ad: Tensor, temperature: float, *, target: bool) -> Softened:
    """Return the features of the rows of ``e_ad``, shape (A, D), each of unit length."""
    return Softened(*_Soften.apply(e_ad, temperature, target))  # type: ignore[no-untyped-call]


class _Soften(torch.autograd.Function):
    """Features, mean logit and partition of each row, with one pass's memory in each direction."""

    @staticmethod
    def forward(
        ctx: Any,
        e: Tensor,
        temperature: float,
        target: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = e / temperature
        distribution = torch.softmax(logits, 1)
        # Unit rows bound the logits by 1 / t, and so each entry of a distribution from below.
        partition = (logits[:, 0] - 1 / temperature).exp_() / distribution[:, 0]
        mean_logit = torch.linalg.vecdot(distribution, logits)
        features = e.new_empty(len(e), 2 * e.shape[1])
        p, r = _halves(features, target=target)
        p.copy_(distribution)
        torch.sub(logits, mean_logit[:, None], out=r)
        ctx.save_for_backward(features, partition)
        ctx.temperature, ctx.target = temperature, target
        return features, mean_logit, partition

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        features, partition = ctx.saved_tensors
        grad_features, grad_mean, grad_partition = grads
        p, r = _halves(features, target=ctx.target)
        grad_p, grad_r = _halves(grad_features, target=ctx.target)
        slope = grad_mean - grad_r.sum(1)
        offset = slope - torch.linalg.vecdot(grad_p, p) + grad_partition * partition
        grad = torch.addcmul(grad_p, r, slope[:, None])
        grad.add_(offset[:, None]).mul_(p).add_(grad_r).mul_(1 / ctx.temperature)
        return grad, None, None


def _halves(features: Tensor, *, target: bool) -> tuple[Tensor, Tensor]:
    """Return views of the distribution and of the shifted logits."""
    left, right = features.tensor_split(2, dim=1)
    return (right, left) if target else (left, right)
