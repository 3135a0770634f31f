"""One batch through the model to its weighted loss terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.train.loss import Others, losses, population, softened

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scrcl.train.batch import Batch
    from scrcl.train.config import TrainConfig
    from scrcl.train.model import ScRCL
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

    Where ``config.negatives`` is "moments", a batch that does not hold every cell enters them.
    """
    association = model.association(batch.genes)
    views = model(batch.cells, association, generator)
    keys, targets = softened(views, config.temperature)
    if batch.negatives is None:
        own = population(keys, targets, views.zg_bc)
        learns = config.negatives == "moments" and batch.n_seeds < batch.edges.n_cells
        others = moments.observe(own) if learns else Others(own, own)
    else:
        drawn = model(batch.negatives, association, generator)
        others = Others(population(*softened(drawn, config.temperature), drawn.zg_bc), None)
    return losses(views, keys, targets, batch.edges, others, config)
