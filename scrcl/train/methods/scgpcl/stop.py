"""When a phase ends, without labels: successive clusterings of a subset agree."""

# Shapes: B = cells of the subset, E = width of the embedding, K = clusters.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl._crosstab import crosstab
from scrcl._random import derive_seed
from scrcl.errors import TrainingError
from scrcl.graph.kmeans import kmeans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scrcl.typing import FloatArray, IntArray

__all__ = ["ClustersAgree", "FewChange", "adjusted_rand", "require_learned"]

_STARTS = 10


@dataclass(frozen=True)
class ClustersAgree:
    """Ends pre-training once k-means of two successive checks agree.

    Each check starts k-means from points of its own. From the same points it would find the same one of several
    clusterings that are nearly as good, and two checks would agree long before the embedding has one that is best.

    Attributes
    ----------
    n_clusters
        Number of means.
    least
        Smallest adjusted Rand index that ends the phase.
    seed
        Root of the seeds of k-means.
    """

    n_clusters: int
    least: float
    seed: int

    def summary(self, embedding: Tensor, step: int) -> Tensor:
        """Return the cluster of each cell, int32 of shape (B,)."""
        rows = np.ascontiguousarray(embedding.cpu().numpy(), np.float32)
        require_learned(rows)
        k = min(self.n_clusters, len(rows))
        seed = derive_seed(self.seed, "scgpcl.stop", step)
        found = kmeans(rows, k, seed=seed, n_init=_STARTS, device=str(embedding.device))
        return torch.from_numpy(found.labels)

    def share_kept(self, before: Tensor, now: Tensor) -> float:
        """Return the adjusted Rand index of both clusterings."""
        return adjusted_rand(before.numpy(), now.numpy())

    def is_over(self, shares: Sequence[float]) -> bool:
        """Return whether the last two clusterings agree."""
        return len(shares) > 0 and shares[-1] > self.least


@dataclass(frozen=True)
class FewChange:
    """Ends fine-tuning once fewer than a share of the cells change their cluster between checks."""

    changed: float

    def summary(self, embedding: Tensor, step: int) -> Tensor:
        """Return the cluster of each cell, int64 of shape (B,), from its shares in all clusters, (B, K)."""
        del step
        return embedding.argmax(1).cpu()

    def share_kept(self, before: Tensor, now: Tensor) -> float:
        """Return the share of cells that keep their cluster."""
        return float((before == now).double().mean())

    def is_over(self, shares: Sequence[float]) -> bool:
        """Return whether fewer cells than the share changed since the last check."""
        return len(shares) > 0 and 1 - shares[-1] < self.changed


def adjusted_rand(one: IntArray, other: IntArray) -> float:
    """Return the adjusted Rand index of two clusterings of the same cells.

    scikit-learn has it too, but takes a second to load, which is much of training on a few hundred cells.
    """
    counts = crosstab(one, other).astype(np.float64)

    def pairs(sizes: FloatArray) -> float:
        return float((sizes * (sizes - 1) / 2).sum())

    both, first, second = pairs(counts), pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    by_chance = first * second / max(pairs(counts.sum(keepdims=True)), 1.0)
    most = (first + second) / 2
    return 1.0 if most == by_chance else (both - by_chance) / (most - by_chance)


def require_learned(rows: FloatArray) -> None:
    """Raise TrainingError if training has diverged: an embedding is not finite."""
    if not np.isfinite(rows).all():
        message = (
            "the embedding must stay finite in training; got NaN or infinity. Lower train.lr. The last "
            "checkpoint is from an earlier step."
        )
        raise TrainingError(message)
