"""One batch through the model to its weighted loss terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.train.loss import Others, losses, population

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scrcl.train.batch import Batch
    from scrcl.train.config import TrainConfig
    from scrcl.train.loss import Population
    from scrcl.train.model import ScRCL, Views
    from scrcl.train.moments import Moments

__all__ = ["objective"]


def objective(
    model: ScRCL,
    batch: Batch,
    moments: Moments,
    config: TrainConfig,
    *,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return the batch's weighted terms (`scrcl.train.loss.losses`).

    With ``config.negatives`` of "moments", a batch that does not hold every cell enters ``moments``.
    """
    association = model.association(batch.genes)
    views = model(batch.cells, association, generator)
    if batch.negatives is None:
        others = _from_seeds(_means(views, config), batch, moments, config)
    else:
        drawn = model(batch.negatives, association, generator)
        others = Others(_means(drawn, config), n_seeds=None)
    return losses(views, batch.edges, others, config)


def _means(views: Views, config: TrainConfig) -> Population:
    n_seeds = len(views.eg_bd)
    return population(views.em_ad[:n_seeds], views.eg_bd, views.zg_bc, config.temperature)


def _from_seeds(now: Population, batch: Batch, moments: Moments, config: TrainConfig) -> Others:
    if config.negatives == "moments" and batch.n_seeds < batch.edges.n_cells:
        return moments.observe(now, n_seeds=batch.n_seeds)
    return Others(now, n_seeds=batch.n_seeds)
