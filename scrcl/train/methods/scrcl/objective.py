"""From a mini-batch to its weighted loss terms."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from scrcl.train.methods.scrcl.loss import Others, Population, losses, population, softened
from scrcl.train.ranks import Ranks

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.train.methods.scrcl.divergence import Softened
    from scrcl.train.methods.scrcl.loss import Part
    from scrcl.train.methods.scrcl.minibatch import Minibatch
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.methods.scrcl.moments import Moments
    from scrcl.train.methods.scrcl.settings import ScrclSettings

__all__ = ["objective", "summed_size"]


def objective(
    model: ScRCL,
    batch: Minibatch,
    moments: Moments,
    settings: ScrclSettings,
    *,
    generator: torch.Generator | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Tensor]:
    """Return the weighted terms of a mini-batch (`scrcl.train.methods.scrcl.loss.losses`).

    If ``settings.negatives`` is "moments", the means of a mini-batch without all cells are added to the
    running moments. With several ``ranks`` the terms are this rank's part; one exchange shares the means.
    """
    ranks = ranks or Ranks.alone()
    association = model.association(batch.genes)
    views = model(batch.cells, association, generator)
    keys, targets = softened(views, settings.temperature)
    if batch.negatives is not None:
        drawn = model(batch.negatives, association, generator)
        its = softened(drawn, settings.temperature)
        means, _ = _common(population(*its, drawn.zg_bc, batch.n_drawn), None, ranks)
        return losses(views, keys, targets, batch.edges, Others(means, None), settings)
    part = batch.edges.part
    of_each = None if part is None else _divergences(keys, targets, part)
    own, kappa_s = _common(population(keys, targets, views.zg_bc, batch.n_seeds), of_each, ranks)
    learns = settings.negatives == "moments" and batch.n_seeds < batch.edges.n_cells
    others = moments.observe(own) if learns else Others(own, own)
    others = replace(others, kappa_s=kappa_s)
    return losses(views, keys, targets, batch.edges, others, settings)


def summed_size(settings: ScrclSettings, n_seeds: int, *, draws: bool) -> int:
    """Return how many numbers the ranks add up in a step with ``n_seeds`` seed cells.

    These are the fields of `Population`, and the divergence of each seed unless negatives are drawn.
    """
    return 2 * settings.dim + settings.refined_dim**2 + 2 + (0 if draws else n_seeds)


def _divergences(keys: Softened, targets: Softened, part: Part) -> Tensor:
    """Return the divergence between each seed's two views, shape (S,), zero for other ranks' seeds."""
    n_here = len(targets.features)
    own_b = -torch.linalg.vecdot(keys.features[:n_here], targets.features)
    return pad(own_b, (part.first, part.n_seeds - part.first - n_here))


def _common(
    here: Population, of_each: Tensor | None, ranks: Ranks
) -> tuple[Population, Tensor | None]:
    """Return the sums over ranks of both, in one exchange."""
    if ranks.is_alone:
        return here, of_each
    parts = [getattr(here, field.name) for field in fields(here)]
    every = [*parts, *([] if of_each is None else [of_each])]
    summed = ranks.sum(torch.cat([each.flatten() for each in every]))
    split = torch.split(summed, [each.numel() for each in every])
    common = [piece.view_as(each) for piece, each in zip(split, every, strict=True)]
    return Population(*common[: len(parts)]), None if of_each is None else common[-1]
