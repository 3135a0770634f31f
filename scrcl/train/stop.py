"""When to stop, without labels: once the neighbours of a fixed sample of cells stand still.

Every few steps the sample is embedded, with all of its own neighbours in the graph and in evaluation mode, and
its cells' nearest cells of the sample are found. What is looked at is the share of them that was there at the look
before. While clusters form it rises; where it has ceased to, training goes on to pull apart what has formed.

Losses tell nothing: they go on falling. Nor do clusters of the sample: from one look to the next, k-means
differs more by where it starts than by what was learnt.

Every process of a run has the same weights and looks at the same sample, so all of them decide alike.
"""

# Shapes: B = cells of the sample, K = nearest cells kept of each, D = dim.

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from scrcl._random import derive_seed
from scrcl.train.methods.scrcl.minibatch import BatchSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scrcl.train.config import TrainConfig
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL

__all__ = ["Looks", "Stop", "stands_still"]

N_NEAREST = 15
LEAST_RISE = 0.03
"""Clusters still form while the share rises by this much; .02 to .04 end within .005 of each other in ARI."""
TILE_ROWS = 1024


@dataclass
class Looks:
    """What has been seen so far: part of the state of training.

    Attributes
    ----------
    nearest_bk
        Tensor of int64, shape (B, K): nearest cells at the last look, ascending; none before the first.
    kept
        One dict a look but the first: the step, and the share of nearest cells that was kept.
    """

    nearest_bk: Tensor | None = None
    kept: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"nearest": self.nearest_bk, "kept": list(self.kept)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.nearest_bk, self.kept = state["nearest"], list(state["kept"])


class Stop:
    """Looks at the sample every ``stop_every`` steps.

    Parameters
    ----------
    inputs
        What is trained on.
    config
        ``stop_every``, ``stop_cells`` and ``patience`` are read.
    seed
        The run's seed; the sample depends on nothing else.
    device
        Where the model is. The sample's rows and those of its neighbours stay there.
    """

    def __init__(
        self, inputs: Inputs, config: TrainConfig, *, seed: int, device: str | torch.device = "cpu"
    ) -> None:
        self._every, self._patience = config.stop_every, config.patience
        # The first batch of an epoch is a uniform sample.
        whole = config.model_copy(
            update={
                "batch_cells": config.stop_cells,
                "batches": "uniform",
                "fanout": None,
                "negatives": "batch",
            }
        )
        source = BatchSource(inputs, whole, seed=derive_seed(seed, "train.stop"), device=device)
        cells = source.batch(0).cells
        n_seeds = cells.adjacency.pattern.shape[0]
        self._cells = replace(cells, x=cells.x[:n_seeds].clone())

    def is_due(self, step: int) -> bool:
        """Return whether there is something to look at after ``step`` steps."""
        return step % self._every == 0

    def look(self, model: ScRCL, looks: Looks, step: int) -> bool:
        """Look, where a look is due after ``step`` steps; return whether training has ended.

        What is returned depends on ``looks`` alone, so a run that has stopped goes on nowhere when resumed.
        """
        seen = looks.kept[-1]["step"] if looks.kept else 0
        if self.is_due(step) and step > seen and not self.ended(looks):
            nearest = self._nearest(model)
            if looks.nearest_bk is not None:
                share = kept_share(looks.nearest_bk, nearest)
                looks.kept.append({"step": step, "kept": share})
            looks.nearest_bk = nearest
        return self.ended(looks)

    def ended(self, looks: Looks) -> bool:
        """Return whether the looks so far say that clusters stand still."""
        return stands_still([look["kept"] for look in looks.kept], self._patience)

    @torch.no_grad()
    def _nearest(self, model: ScRCL) -> Tensor:
        """Return the nearest cells by E = [E^m | E^g], int64 of shape (B, K) on the CPU, ascending."""
        training = model.training
        model.eval()
        eg_bd = model.encode_gcn(self._cells)
        em_bd = model.encode_mlp(self._cells.x)
        model.train(training)
        return nearest_rows(torch.cat([em_bd, eg_bd], 1), N_NEAREST)


def nearest_rows(e_be: Tensor, k: int) -> Tensor:
    """Return the ``k`` rows (fewer where there are fewer) most like each row, itself left out.

    Parameters
    ----------
    e_be
        Tensor of shape (B, E), rows of one length.

    Returns
    -------
    Tensor of int64, shape (B, K), on the CPU
        Ascending in each row.
    """
    n_rows = len(e_be)
    found = []
    for start in range(0, n_rows, TILE_ROWS):
        tile = e_be[start : start + TILE_ROWS]
        likeness = tile @ e_be.T
        own = torch.arange(len(tile), device=tile.device)
        likeness[own, own + start] = -torch.inf
        found.append(likeness.topk(min(k, n_rows - 1), dim=1).indices)
    return torch.cat(found).cpu().sort(dim=1).values


def kept_share(before_bk: Tensor, now_bk: Tensor) -> float:
    """Return the share of ``before_bk`` that is in the same row of ``now_bk``; both ascending, of one shape."""
    at = torch.searchsorted(now_bk, before_bk).clamp_max(now_bk.shape[1] - 1)
    return float((now_bk.gather(1, at) == before_bk).double().mean())


def stands_still(kept: Sequence[float], patience: int) -> bool:
    """Return whether the last share is no `LEAST_RISE` above the best of those ``patience`` looks ago and before."""
    before = kept[:-patience]
    return len(before) > 0 and kept[-1] - max(before) < LEAST_RISE
