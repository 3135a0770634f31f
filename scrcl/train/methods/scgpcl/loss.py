"""The contrastive losses, and the loss of fine-tuning, on tensors.

Each rank returns the part of its own cells; parts of all ranks add up to the loss of one process.
"""

# Shapes: B = this rank's cells, N = cells of all ranks, E = width of the embedding, K = clusters.

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy, kl_div

from scrcl.train.unit_rows import unit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["cluster_loss", "contrast_loss", "prototype_loss", "sharpened", "soft_assignment"]


def contrast_loss(
    own: tuple[Tensor, Tensor], every: tuple[Tensor, Tensor], first: int, temperature: float
) -> Tensor:
    """Return InfoNCE over both views: each embedding against the other view of its cell, among all others.

    Parameters
    ----------
    own
        Embeddings of this rank's cells in both views, shape (B, E) each.
    every
        Those of all ranks, shape (N, E) each.
    first
        Position of the first own cell among all.

    References
    ----------
    Lee et al. 2023, the instance-wise contrastive loss.
    """
    own_ae, every_ae = unit_rows(torch.cat(own)), unit_rows(torch.cat(every))
    n_own, n_cells = len(own[0]), len(every[0])
    cells_b = first + torch.arange(n_own, device=own_ae.device)
    itself = torch.cat([cells_b, cells_b + n_cells])
    other = torch.cat([cells_b + n_cells, cells_b])
    logits = own_ae @ every_ae.T / temperature
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    return cross_entropy(logits, other, reduction="sum") / (2 * n_cells)


def prototype_loss(
    own_be: Tensor, other_be: Tensor, levels: Sequence[Tensor], n_cells: int, temperature: float
) -> Tensor:
    """Return the contrast of each cell with its prototype among all prototypes, a mean over levels.

    Parameters
    ----------
    own_be
        Embeddings of this rank's cells in one view.
    other_be
        Those of the other view: the nearest prototype to it is the cell's. It gets no gradient.
    levels
        Prototypes of each level, shape (K, E) each.

    References
    ----------
    Lee et al. 2023, the prototypical contrastive loss.
    """
    units_be = unit_rows(own_be)
    total = own_be.new_zeros(())
    for level_ke in levels:
        with torch.no_grad():
            nearest_b = torch.cdist(other_be, level_ke).argmin(1)
        cosines = units_be @ unit_rows(level_ke).T
        total = total + cross_entropy(cosines / temperature, nearest_b, reduction="sum")
    return total / (n_cells * len(levels))


def soft_assignment(rows_be: Tensor, centres_ke: Tensor) -> Tensor:
    """Return the share of each cell in each cluster, shape (B, K): Student's t with one degree of freedom.

    References
    ----------
    Xie, Girshick, Farhadi: Unsupervised deep embedding for clustering analysis. ICML 2016, Eq. 1.
    """
    # Not cdist: its gradient is infinite where a cell is at a centre.
    away_bke = rows_be[:, None, :] - centres_ke
    kernel_bk = 1 / (1 + away_bke.square().sum(2))
    return kernel_bk / kernel_bk.sum(1, keepdim=True)


def sharpened(shares_bk: Tensor, sizes_k: Tensor) -> Tensor:
    """Return the target of each share: its square, divided by the size of the cluster, of sum 1 (Eq. 3).

    ``sizes_k`` are sums of shares over many cells; their scale does not matter.
    """
    weights_bk = shares_bk.square() / sizes_k
    return weights_bk / weights_bk.sum(1, keepdim=True)


def cluster_loss(shares_bk: Tensor, targets_bk: Tensor, n_cells: int) -> Tensor:
    """Return the Kullback-Leibler divergence of the shares from their targets, a mean over all cells."""
    least = torch.finfo(shares_bk.dtype).tiny
    return kl_div(shares_bk.clamp_min(least).log(), targets_bk, reduction="sum") / n_cells
