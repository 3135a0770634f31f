"""scRCL's three losses in linear time, on tensors.

The paper writes them over all N x N pairs of cells. None needs them:

*Pairwise SKL (Eq. 5).* With logits ``l = e / t`` and ``p = softmax(l)``, log-partitions cancel and
``kappa_ij = (p_i - q_j) . (l_i - l'_j)``. As each distribution sums to one, any number may be added
to a row of logits; shifting each row by its own mean ``p . l`` leaves an inner product,
``kappa_ij = -key_i . target_j`` with ``key_i = [p_i | l_i - p_i . l_i]`` and
``target_j = [l'_j - q_j . l'_j | q_j]``. So sums over neighbours are one sparse product, the mean
over all cells is the key times the mean target, and float32 keeps the small divergences of aligned
views (entropies near log d, subtracted from each other, would not).

*Squared similarities (Eq. 9).* ``sum_j S_ij^2 = N zm_i^T G zm_i``, G the mean of ``zg_j zg_j^T``.

*A mini-batch* visits the ordered pairs (i, j) with j a seed and i its neighbour or itself: E^g_j
needs j's neighbours, E^m_i needs nobody's. Over an epoch each pair is visited once. What the
losses need of all cells is a handful of means (`Population`), in one of the ways of `Others`.

References
----------
scRCL (arXiv 2512.10640), Eq. 3, 4, 5, 8, 9.
"""

# Shapes: N = all cells, A = anchors (seed cells first), B = seed cells, P = visited pairs,
# D = dim, C = refined_dim.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from scrcl.train.sparse import pair_dots

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scrcl.train.config import TrainConfig
    from scrcl.train.model import Views
    from scrcl.train.sparse import SparseMatrix

__all__ = ["TERMS", "Edges", "Others", "Population", "losses", "population"]

TERMS = ("hea_global", "hea_cell", "ndc", "cvc")

_SMALLEST_MEAN = 1e-12
"""Keeps L_NDC finite when all cells have become one point."""


@dataclass(frozen=True, eq=False)
class Edges:
    """The visited pairs of a batch, and its anchors' place in the whole graph.

    Attributes
    ----------
    pairs
        `SparseMatrix` of shape (B, A) over (seed, neighbour), neighbours other than the seed
        itself; ones, or the inverse share of the seed's neighbours that were drawn.
    degrees_a
        Tensor of shape (A,): number of neighbours in the whole graph.
    n_cells
        Number of all cells, N.
    """

    pairs: SparseMatrix
    degrees_a: Tensor
    n_cells: int


@dataclass(frozen=True, eq=False)
class Population:
    """Means over cells: all that a loss needs to know of cells that are not in the batch.

    Attributes
    ----------
    target
        Mean of ``target_j``, shape (2D,).
    gram
        Mean of ``zg_j zg_j^T``, shape (C, C).
    exp_m, exp_g
        Means of ``sum_d exp((e_jd - 1) / t)`` of either view, shape ().
    """

    target: Tensor
    gram: Tensor
    exp_m: Tensor
    exp_g: Tensor


@dataclass(frozen=True, eq=False)
class Others:
    """Where a batch takes its means over all cells from.

    The gradient with respect to the population is ``now``'s. The value is ``now``'s for a share
    ``share`` of one, and ``past``'s (which carries no gradient) for the rest.

    ``n_seeds`` says that ``now`` is the mean over the batch's own seed cells, that many: a seed is
    then taken out of its own mean, as Eq. 4 asks. A mean over the whole atlas keeps it, which
    changes L_NDC's denominators by a relative O(1 / N).
    """

    now: Population
    n_seeds: int | None
    past: Population | None = None
    share: float = 1.0


def population(em_bd: Tensor, eg_bd: Tensor, zg_bc: Tensor, temperature: float) -> Population:
    """Return the means over the cells given, with their gradients."""
    return Population(
        target=_targets(eg_bd, temperature).mean(0),
        gram=zg_bc.T @ zg_bc / len(zg_bc),
        exp_m=_exp(em_bd, temperature).sum(1).mean(),
        exp_g=_exp(eg_bd, temperature).sum(1).mean(),
    )


def losses(views: Views, edges: Edges, others: Others, config: TrainConfig) -> dict[str, Tensor]:
    """Return the weighted terms of Eq. 10, named as `TERMS`; their sum is the loss.

    A term of weight zero is not computed. With a batch of every cell, ``others`` its own means and
    ``cvc_negatives`` at or above N, these are the paper's values (cell term: a mean, not a sum).
    """
    t, n_seeds = config.temperature, len(views.eg_bd)
    em_bd, eg_bd = views.em_ad[:n_seeds], views.eg_bd
    kappa_b = _kappa_self(em_bd, eg_bd, t)
    zero = kappa_b.new_zeros(())
    return {
        "hea_global": _hea_global(em_bd, eg_bd, others, t),
        "hea_cell": config.hea_cell_weight * kappa_b.mean() if config.hea_cell_weight else zero,
        "ndc": config.alpha * _ndc(views, kappa_b, edges, others, t) if config.alpha else zero,
        "cvc": config.beta * _cvc(views, edges, others, config.cvc_negatives)
        if config.beta
        else zero,
    }


def _hea_global(em_bd: Tensor, eg_bd: Tensor, others: Others, temperature: float) -> Tensor:
    """Eq. 3, first term: P and Q are distributions over all N x D entries; scaled up by N / B."""
    mean_m = _blend(lambda whole, _n_seeds, _live: whole.exp_m, others)
    mean_g = _blend(lambda whole, _n_seeds, _live: whole.exp_g, others)
    ratio_m_bd, ratio_g_bd = _exp(em_bd, temperature) / mean_m, _exp(eg_bd, temperature) / mean_g
    logs_bd = (em_bd - eg_bd) / temperature - (mean_m.log() - mean_g.log())
    return ((ratio_m_bd - ratio_g_bd) * logs_bd).sum() / len(em_bd)


def _ndc(
    views: Views, kappa_b: Tensor, edges: Edges, others: Others, temperature: float
) -> Tensor:
    """Eq. 4: each visited pair over its anchor's n_i + 1 and mean divergence from other cells."""
    n_seeds, n_anchors = len(views.eg_bd), len(views.em_ad)
    keys_ad = _keys(views.em_ad, temperature)
    targets_bd = _targets(views.eg_bd, temperature)
    kappa_a = F.pad(kappa_b, (0, n_anchors - n_seeds))

    def mean_from_others(whole: Population, n_own: int | None, live: bool) -> Tensor:
        mean_a = -((keys_ad if live else keys_ad.detach()) @ whole.target)
        if n_own is None:
            return mean_a
        without_self_b = (n_own * mean_a[:n_seeds] - kappa_b) / (n_own - 1)
        return torch.cat([without_self_b, mean_a[n_seeds:]])

    means_a = _blend(mean_from_others, others).clamp_min(_SMALLEST_MEAN)
    sums_a = kappa_a - (keys_ad * edges.pairs.t_matmul(targets_bd)).sum(1)
    return (sums_a / ((edges.degrees_a + 1) * means_a)).sum() / n_seeds


def _cvc(views: Views, edges: Edges, others: Others, negatives: int) -> Tensor:
    """Eq. 9 for each anchor, its N' non-neighbours weighing as much as ``negatives`` of them."""
    zm_ac, zg_bc, n_cells = views.zm_ac, views.zg_bc, edges.n_cells
    n_seeds = len(zg_bc)
    zm_bc = zm_ac[:n_seeds]
    n_far_a = n_cells - 1 - edges.degrees_a
    weight_a = n_far_a.clamp_max(negatives) / n_far_a.clamp_min(1)
    weight_b = weight_a[:n_seeds]
    own_b = (zm_bc * zg_bc).sum(1)

    def sum_over_all(whole: Population, n_own: int | None, live: bool) -> Tensor:
        anchors_bc = zm_bc if live else zm_bc.detach()
        mean_b = ((anchors_bc @ whole.gram) * anchors_bc).sum(1)
        if n_own is None:
            return n_cells * mean_b
        own_square_b = (anchors_bc * zg_bc).sum(1).square()
        others_mean_b = (n_own * mean_b - own_square_b) / (n_own - 1)
        return own_square_b + (n_cells - 1) * others_mean_b

    dots_p = pair_dots(edges.pairs.pattern, zg_bc, zm_ac)
    weight_p = weight_a[edges.pairs.pattern.columns_p]
    near_p = (1 - dots_p).square() - weight_p * dots_p.square()
    if edges.pairs.values_p is not None:
        near_p = edges.pairs.values_p * near_p
    near_b = (1 - own_b).square() - weight_b * own_b.square()
    far_b = weight_b * _blend(sum_over_all, others)
    return (near_p.sum() + near_b.sum() + far_b.sum()) / n_seeds


def _blend(evaluate: Callable[[Population, int | None, bool], Tensor], others: Others) -> Tensor:
    """Evaluate a mean that is linear in the population, as `Others` says.

    ``evaluate(population, n_own, live)`` leaves anchors out of the gradient where not ``live``.
    """
    now = evaluate(others.now, others.n_seeds, True)
    if others.past is None:
        return now
    frozen = evaluate(others.now, others.n_seeds, False)
    past = evaluate(others.past, None, True) + frozen - frozen.detach()
    return others.share * now + (1 - others.share) * past


def _keys(em_ad: Tensor, temperature: float) -> Tensor:
    logits_ad = em_ad / temperature
    p_ad = logits_ad.softmax(1)
    return torch.cat([p_ad, logits_ad - (p_ad * logits_ad).sum(1, keepdim=True)], 1)


def _targets(eg_bd: Tensor, temperature: float) -> Tensor:
    logits_bd = eg_bd / temperature
    q_bd = logits_bd.softmax(1)
    return torch.cat([logits_bd - (q_bd * logits_bd).sum(1, keepdim=True), q_bd], 1)


def _kappa_self(em_bd: Tensor, eg_bd: Tensor, temperature: float) -> Tensor:
    """SKL of each seed's two views, shape (B,), from differences: not negative, and exact near 0."""
    l_m_bd, l_g_bd = em_bd / temperature, eg_bd / temperature
    return ((l_m_bd.softmax(1) - l_g_bd.softmax(1)) * (l_m_bd - l_g_bd)).sum(1)


def _exp(e_bd: Tensor, temperature: float) -> Tensor:
    """Exponentials of the logits, at most one: rows of E have unit length."""
    return ((e_bd - 1) / temperature).exp()
