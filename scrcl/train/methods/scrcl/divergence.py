"""Symmetric KL divergences of cells' softened embeddings, as inner products.

With logits ``l = e / t`` and ``p = softmax(l)``, log-partitions cancel from the divergence of
cells i and j: ``kappa_ij = (p_i - q_j) . (l_i - l'_j)``. Each distribution sums to one, so any
number may be added to a row of logits. With each row shifted by its own mean, ``r = l - p . l``,

    kappa_ij = - (p_i . r'_j + r_i . q_j) = - key_i . target_j,

with ``key = [p | r]`` and ``target = [r' | q]``. So divergences of pairs are a sampled product, and the mean
divergence from all cells is the key times the mean target. The shift also keeps the small divergences of
aligned views in float32: a difference of entropies near log d would lose them.

`soften` has a gradient of its own, which saves two thirds of autograd's passes over memory.

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
    """Features, mean logit and partition of each row. Each direction holds little more than its result."""

    @staticmethod
    def forward(
        ctx: Any,
        e: Tensor,
        temperature: float,
        target: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = e / temperature
        distribution = torch.softmax(logits, 1)
        # The sum of exponentials follows from one entry: p_0 = exp(l_0) / sum. Logits of unit rows are at most
        # 1 / t in absolute value, which bounds p_0 from below.
        partition = (logits[:, 0] - 1 / temperature).exp_() / distribution[:, 0]
        mean_logit = torch.linalg.vecdot(distribution, logits)
        # Both halves are written in place: no copy to join them.
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
        # With m = p . l, the mean logit: dm = sum_d p_d (1 + r_d) dl_d, and dr = dl - dm, so the sum of grad_r
        # acts on m too. The softmax gives p * (grad_p - p . grad_p), the partition p * partition. Collected:
        # p * (grad_p + slope * r + offset) + grad_r.
        slope = grad_mean - grad_r.sum(1)
        offset = slope - torch.linalg.vecdot(grad_p, p) + grad_partition * partition
        grad = torch.addcmul(grad_p, r, slope[:, None])
        grad.add_(offset[:, None]).mul_(p).add_(grad_r).mul_(1 / ctx.temperature)
        return grad, None, None


def _halves(features: Tensor, *, target: bool) -> tuple[Tensor, Tensor]:
    """Return views of the distribution and of the shifted logits."""
    left, right = features.tensor_split(2, dim=1)
    return (right, left) if target else (left, right)
