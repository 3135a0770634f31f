"""Means of embedded cells: prototypes of a mini-batch or of a subset; centres and sizes of clusters of a subset.

Prototypes of a subset stay for some steps, and draw the cells of a large type to one accidental division of it all
the while. Those of mini-batches divide it each time in another way, as in the code of the method's authors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrcl._random import derive_seed, drawn_rows
from scrcl.graph.kmeans import kmeans
from scrcl.io.arrays import row_blocks
from scrcl.train.methods.scgpcl.embed import BLOCK_CELLS, embed_subset
from scrcl.train.methods.scgpcl.loss import soft_assignment
from scrcl.train.methods.scgpcl.stop import require_learned

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.train.methods.scgpcl.inputs import Inputs
    from scrcl.train.methods.scgpcl.learner import ScgpclLearner
    from scrcl.train.methods.scgpcl.settings import ScgpclSettings
    from scrcl.train.setup import Setup, Step
    from scrcl.typing import FloatArray

__all__ = ["minibatch_prototypes", "refresh_clusters", "refresh_prototypes"]

_STARTS = 4
"""Runs of k-means, of which the best is kept; the centres of fine-tuning are found once, from more."""
_STARTS_OF_CENTRES = 20


def minibatch_prototypes(learner: ScgpclLearner, rows_ne: Tensor, step: int) -> list[Tensor]:
    """Return the means that k-means finds in a mini-batch, shape (K, E) for each level.

    Parameters
    ----------
    learner
        Its levels and its seed are read.
    rows_ne
        One view of the seed cells of all ranks.
    step
        Number of the step.
    """
    return _prototypes(learner, rows_ne.detach().float().cpu().numpy(), step)


def refresh_prototypes(
    learner: ScgpclLearner, inputs: Inputs, setup: Setup[ScgpclSettings], now: Step
) -> None:
    """Set the prototypes to the means that k-means finds in a subset at each level."""
    found = torch.zeros_like(learner.prototypes)
    if now.ranks.is_first:
        found.copy_(torch.cat(_prototypes(learner, _subset(learner, inputs, setup), now.number)))
    # Other ranks add zeros: processors that differ in the last digit may find other means.
    now.ranks.add([found])
    learner.prototypes.copy_(found)


def refresh_clusters(
    learner: ScgpclLearner, inputs: Inputs, setup: Setup[ScgpclSettings], now: Step
) -> None:
    """Set the sizes of the clusters; before the first step of fine-tuning also their centres."""
    begins = now.number_in_phase == 0
    centres, sizes = torch.zeros_like(learner.centres.data), torch.zeros_like(learner.sizes)
    if now.ranks.is_first:
        rows = _subset(learner, inputs, setup)
        if begins:
            seed = derive_seed(setup.seed, "scgpcl.centres")
            found = _means(rows, len(centres), seed, _STARTS_OF_CENTRES, learner.device)
            centres.copy_(found)
        else:
            centres.copy_(learner.centres.data)
        sizes.copy_(_sizes(rows, centres))
    now.ranks.add([centres, sizes])
    learner.centres.data.copy_(centres)
    learner.sizes.copy_(sizes)
    learner.is_tuned.fill_(1)


def _subset(learner: ScgpclLearner, inputs: Inputs, setup: Setup[ScgpclSettings]) -> FloatArray:
    """Return the embedding of the subset, the same cells every time."""
    cells = drawn_rows(inputs.n_cells, setup.settings.subset_cells, setup.seed, "scgpcl.sample")
    rows = embed_subset(learner, inputs, cells)
    require_learned(rows)
    return rows


def _prototypes(learner: ScgpclLearner, rows: FloatArray, step: int) -> list[Tensor]:
    seed = derive_seed(learner.seed, "scgpcl.prototypes", step)
    require_learned(rows)
    return [
        _means(rows, min(len(level), len(rows)), seed, _STARTS, learner.device)
        for level in learner.levels
    ]


def _means(rows: FloatArray, k: int, seed: int, n_starts: int, device: torch.device) -> Tensor:
    found = kmeans(rows, k, seed=seed, n_init=n_starts, device=str(device))
    return torch.from_numpy(found.centroids).to(device)


def _sizes(rows: FloatArray, centres: Tensor) -> Tensor:
    """Return the sum over the subset of the share of each cell in each cluster."""
    total = torch.zeros_like(centres[:, 0])
    for start, stop in row_blocks(len(rows), BLOCK_CELLS):
        block = torch.from_numpy(rows[start:stop]).to(centres.device)
        total += soft_assignment(block, centres).sum(0)
    return total
