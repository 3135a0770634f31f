"""scRCL's three losses in linear time, on tensors.

The paper writes them over all N x N pairs of cells, but none of the losses needs all pairs. Divergences
are inner products (`scrcl.train.methods.scrcl.divergence`), and so are similarities:
``sum_j S_ij^2 = N zm_i^T G zm_i`` with G the mean of ``zg_j zg_j^T``. So a loss needs only a few means over
all cells (`Population`).

A mini-batch visits the ordered pairs (i, j) with j a seed and i its neighbour or j itself: E^g_j needs j's
neighbours, E^m_i needs no other cell. Over an epoch each pair is visited once. So with exact means the
average over an epoch is the loss over all cells.

References
----------
scRCL (arXiv 2512.10640), Eq. 3, 4, 9, 10.
"""

# Shapes: N = all cells, A = anchors (seed cells first), B = seed cells, P = visited pairs,
# D = dim, C = refined_dim. If ranks share a mini-batch, A, B and P are this rank's, S = seed cells of
# all ranks, H = anchors that are seed cells of other ranks.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from scrcl.train.methods.scrcl.blocks import visit
from scrcl.train.methods.scrcl.divergence import Softened, soften

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.train.methods.scrcl.blocks import Visits
    from scrcl.train.methods.scrcl.model import Views
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.sparse import Pattern

__all__ = [
    "Edges",
    "Others",
    "Part",
    "Population",
    "losses",
    "population",
    "softened",
]

TERMS = ("hea_global", "hea_cell", "ndc", "cvc")

_SMALLEST_MEAN = 1e-12
"""Keeps L_NDC finite if all cells collapse to one point."""


@dataclass(frozen=True, eq=False)
class Part:
    """A rank's part of a mini-batch's seed cells.

    Attributes
    ----------
    n_seeds
        Seed cells of all ranks, S.
    first
        Position of this rank's first seed among them.
    anchors_h, seeds_h
        Tensors of int64, shape (H,): anchors that are other ranks' seeds, and their positions among all.
    """

    n_seeds: int
    first: int
    anchors_h: Tensor
    seeds_h: Tensor


@dataclass(frozen=True, eq=False)
class Edges:
    """The visited pairs of a mini-batch, and its anchors' degrees in the whole graph.

    Attributes
    ----------
    pattern
        Pairs (seed, neighbour), shape (B, A). A seed is also visited with itself; that pair is not stored.
    weight_p
        Tensor of shape (P,): the inverse of the share of the seed's neighbours that were drawn;
        None if all were.
    degrees_a
        Tensor of shape (A,): number of neighbours in the whole graph.
    n_cells
        Number of all cells, N.
    part
        This rank's part of the seeds; None: all of them.
    """

    pattern: Pattern
    weight_p: Tensor | None
    degrees_a: Tensor
    n_cells: int
    part: Part | None = None

    @property
    def n_seeds(self) -> int:
        """Number of seed cells, on all ranks."""
        return self.pattern.shape[0] if self.part is None else self.part.n_seeds


@dataclass(frozen=True, eq=False)
class Population:
    """Means over cells: all that a loss needs of cells outside of the mini-batch.

    Attributes
    ----------
    target
        Mean of the GCN view's targets, shape (2D,).
    gram
        Mean of ``zg_j zg_j^T``, shape (C, C).
    partition_m, partition_g
        Mean partition of either view, shape ().
    """

    target: Tensor
    gram: Tensor
    partition_m: Tensor
    partition_g: Tensor


@dataclass(frozen=True, eq=False)
class Others:
    """The means over all cells that a mini-batch uses.

    Attributes
    ----------
    whole
        The means; their gradient may be that of the mini-batch's own means.
    own
        The means over the mini-batch's seed cells, if ``whole`` includes them.
    share
        Share of ``own`` in the value of ``whole``.
    kappa_s
        Divergence between the two views of every seed cell, shape (S,), if ranks share them and
        ``own`` includes them.

    Notes
    -----
    Eq. 4 excludes a cell from its own mean. Among the B cells of ``own`` this matters, so the seed is
    taken out. A mean over all N cells keeps it, which changes L_NDC's denominators by a relative
    O(1 / N).
    """

    whole: Population
    own: Population | None
    share: float = 1.0
    kappa_s: Tensor | None = None


def softened(views: Views, temperature: float) -> tuple[Softened, Softened]:
    """Return the seeds' keys by the MLP view and their targets by the GCN view."""
    return (
        soften(views.em_bd, temperature, target=False),
        soften(views.eg_bd, temperature, target=True),
    )


def population(
    keys: Softened, targets: Softened, zg_bc: Tensor, n_cells: int | None = None
) -> Population:
    """Return the means over the seed cells, with their gradients.

    If ``n_cells`` is larger than the number of seeds here, the result is their part of the means over
    that many cells.
    """
    n_here = len(zg_bc)
    n_cells = n_cells or n_here
    return Population(
        target=targets.features.sum(0) / n_cells,
        gram=zg_bc.T @ zg_bc / n_cells,
        partition_m=keys.partition_a.sum() / n_cells,
        partition_g=targets.partition_a.sum() / n_cells,
    )


def losses(
    views: Views,
    keys: Softened,
    targets: Softened,
    edges: Edges,
    others: Others,
    settings: ScrclSettings,
) -> dict[str, Tensor]:
    """Return the weighted terms of Eq. 10, named as `TERMS`; their sum is the loss.

    With a mini-batch of all cells, its own means as ``others``, and ``cvc_negatives`` of at least N,
    these are the paper's values (its cell term as a mean, not a sum). A weight of zero makes a term
    zero. With several ranks they are this rank's part of the terms, which add up over ranks.
    """
    visits = visit(
        views.anchors,
        edges.pattern,
        targets.features,
        others.whole.target,
        views.zg_bc,
        settings.temperature,
    )
    p_r_b, q_r_b = _own_products(keys, targets)
    kappa_b = -(p_r_b + q_r_b)
    zero = kappa_b.new_zeros(())
    return {
        "hea_global": _hea_global(keys, targets, p_r_b, q_r_b, others) / edges.n_seeds,
        "hea_cell": settings.hea_cell_weight * kappa_b.sum() / edges.n_seeds,
        "ndc": settings.alpha * _ndc(visits, kappa_b, edges, others) if settings.alpha else zero,
        "cvc": settings.beta * _cvc(views, visits, edges, others, settings.cvc_negatives)
        if settings.beta
        else zero,
    }


def _own_products(keys: Softened, targets: Softened) -> tuple[Tensor, Tensor]:
    """Return ``p . r'`` and ``q . r`` of each seed's two views: minus their sum is its kappa."""
    p_bd, r_bd = keys.features.tensor_split(2, dim=1)
    other_r_bd, q_bd = targets.features.tensor_split(2, dim=1)
    return torch.linalg.vecdot(p_bd, other_r_bd), torch.linalg.vecdot(q_bd, r_bd)


def _hea_global(
    keys: Softened, targets: Softened, p_r_b: Tensor, q_r_b: Tensor, others: Others
) -> Tensor:
    """Eq. 3, first term: P and Q are distributions over all N x D entries; scaled up by N.

    A row of N P is the cell's own distribution p, times its partition over the mean partition. So the
    row's part of the divergence follows from the inner products of p and q with l - l'.
    """
    # l - l' = (r - r') + (mean_logit - mean_logit'): the products with r are known already.
    mean_m, mean_g = others.whole.partition_m, others.whole.partition_g
    weight_m_b, weight_g_b = keys.partition_a / mean_m, targets.partition_a / mean_g
    shift_b = keys.mean_logit_a - targets.mean_logit_a - (mean_m / mean_g).log()
    under_p_b, under_q_b = shift_b - p_r_b, shift_b + q_r_b
    return (weight_m_b * under_p_b - weight_g_b * under_q_b).sum()


def _ndc(visits: Visits, kappa_b: Tensor, edges: Edges, others: Others) -> Tensor:
    """Eq. 4: each visited pair, divided by its anchor's n_i + 1 and mean divergence from other cells."""
    n_here, mean_a = len(kappa_b), visits.mean_a
    if others.own is not None:  # drawn negatives contain a seed only by chance
        mean_a = mean_a + _without_itself(mean_a, kappa_b, edges, others)
    weight_a = 1 / ((edges.degrees_a + 1) * mean_a.clamp_min(_SMALLEST_MEAN))
    weight_p = weight_a.index_select(0, edges.pattern.columns_p)
    if edges.weight_p is not None:
        weight_p = weight_p * edges.weight_p
    visited: Tensor = torch.dot(weight_p, visits.kappa_p) + torch.dot(weight_a[:n_here], kappa_b)
    return visited / edges.n_seeds


def _without_itself(mean_a: Tensor, kappa_b: Tensor, edges: Edges, others: Others) -> Tensor:
    """Return the change of each seed's mean over the seeds, shape (A,), if the seed is taken out."""
    share, n_here = others.share / (edges.n_seeds - 1), len(kappa_b)
    excess_a = pad((mean_a[:n_here] - kappa_b) * share, (0, len(mean_a) - n_here))
    if edges.part is None or others.kappa_s is None:
        return excess_a
    at_h, kappa_h = edges.part.anchors_h, others.kappa_s[edges.part.seeds_h]
    return excess_a.index_add(0, at_h, (mean_a[at_h] - kappa_h) * share)


def _cvc(views: Views, visits: Visits, edges: Edges, others: Others, negatives: int) -> Tensor:
    """Eq. 9 for each anchor; its N' non-neighbours count as ``negatives`` of them."""
    n_here, zm_bc, dots_p = len(views.zg_bc), views.zm_bc, visits.dots_p
    n_far_a = edges.n_cells - 1 - edges.degrees_a
    weight_a = n_far_a.clamp_max(negatives) / n_far_a.clamp_min(1)
    weight_b = weight_a[:n_here]
    own_b: Tensor = torch.linalg.vecdot(zm_bc, views.zg_bc)

    weight_p = weight_a.index_select(0, edges.pattern.columns_p)
    near_p = (1 - dots_p).square() - weight_p * dots_p.square()
    if edges.weight_p is not None:
        near_p = near_p * edges.weight_p
    near_b = (1 - own_b).square() - weight_b * own_b.square()
    far_b = weight_b * _squares(zm_bc, views.zg_bc, others, edges)
    return (near_p.sum() + near_b.sum() + far_b.sum()) / edges.n_seeds


def _squares(zm_bc: Tensor, zg_bc: Tensor, others: Others, edges: Edges) -> Tensor:
    """Return the sum of S_ij^2 over all cells j (i included) for each seed i, shape (B,)."""
    n_cells, n_seeds = edges.n_cells, edges.n_seeds
    total_b = n_cells * _quadratic(zm_bc, others.whole.gram)
    if others.own is None or n_seeds == n_cells:
        return total_b

    # The seed itself is one of B cells in the mini-batch, but one of N among all cells. Its own square
    # therefore counts too much; this correction makes the sum unbiased.
    def excess(anchors_bc: Tensor, own: Population) -> Tensor:
        own_b: Tensor = torch.linalg.vecdot(anchors_bc, zg_bc)
        beyond = (n_cells - n_seeds) / (n_seeds - 1)
        return beyond * (_quadratic(anchors_bc, own.gram) - own_b.square())

    # As in `Moments`: the value has the share of the mini-batch's own means, while the gradient with
    # respect to these means is the full one.
    live_b, frozen_b = excess(zm_bc, others.own), excess(zm_bc.detach(), others.own)
    return total_b + others.share * live_b + (1 - others.share) * (frozen_b - frozen_b.detach())


def _quadratic(z_bc: Tensor, gram_cc: Tensor) -> Tensor:
    squares_b: Tensor = torch.linalg.vecdot(z_bc @ gram_cc, z_bc)
    return squares_b
