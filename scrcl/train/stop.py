"""When to stop, without labels: once a fixed subset of cells no longer changes between checks.

Every few steps the subset is embedded in evaluation mode, and compared with the check before. By default
(`NeighborsStable`) the comparison is the share of each cell's nearest cells that is kept. While clusters
form, this share rises. Once it no longer rises, further training only pulls apart what has formed.

Losses do not show this: they keep falling. Nor do clusters of the subset: between two checks, k-means
varies more with its start than with what was learned.

Every rank has the same weights and the same subset, so all ranks decide alike.
"""

# Shapes: B = cells of the subset, K = nearest cells of each, E = width of the embedding.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["NeighborsStable", "StabilityChecks", "StoppingRule", "check"]

N_NEAREST = 15
_LEAST_RISE = 0.03
"""Clusters still form while the share rises by this much; .02 to .04 end within .005 of each other in ARI."""
_TILE_ROWS = 1024


@dataclass
class StabilityChecks:
    """The stability checks of a phase so far; part of the state of training.

    Attributes
    ----------
    reference
        What the next check is compared with, on the CPU; None before the first check.
    kept
        One dict for each check after the first: its step, and the share that was kept since the check before.
    is_over
        The stopping rule has ended the phase.
    """

    reference: Tensor | None = None
    kept: list[dict[str, float]] = field(default_factory=list)
    is_over: bool = False

    @property
    def shares(self) -> list[float]:
        """The share kept at each check after the first."""
        return [check["kept"] for check in self.kept]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"reference": self.reference, "kept": list(self.kept), "is_over": self.is_over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        self.reference, self.kept = state["reference"], list(state["kept"])
        self.is_over = state["is_over"]


class StoppingRule(Protocol):
    """Compares successive checks of the subset, and decides when a phase ends."""

    def summary(self, embedding: Tensor, step: int) -> Tensor:
        """Return what is kept of a check after ``step`` steps, on the CPU, from an embedding of shape (B, E)."""

    def share_kept(self, before: Tensor, now: Tensor) -> float:
        """Return the share of one summary that the next one keeps, 0 to 1."""

    def is_over(self, shares: Sequence[float]) -> bool:
        """Return whether the phase ends after checks with these shares."""


@dataclass(frozen=True)
class NeighborsStable:
    """Ends a phase once nearest cells are stable for ``patience`` checks."""

    patience: int

    def summary(self, embedding: Tensor, step: int) -> Tensor:
        """Return the nearest cells of each cell, int64 of shape (B, K), ascending."""
        del step
        return nearest_rows(embedding, N_NEAREST)

    def share_kept(self, before: Tensor, now: Tensor) -> float:
        """Return the mean share of nearest cells that is kept."""
        return kept_share(before, now)

    def is_over(self, shares: Sequence[float]) -> bool:
        """Return whether the last share is less than `_LEAST_RISE` above the best of earlier checks.

        The last ``patience`` checks do not count as earlier.
        """
        before = shares[: -self.patience]
        return len(before) > 0 and shares[-1] - max(before) < _LEAST_RISE


def check(
    checks: StabilityChecks, rule: StoppingRule, embed: Callable[[], Tensor], step: int
) -> bool:
    """Check the subset after ``step`` steps; return whether the phase is over.

    The result depends only on ``checks``, so a run that has stopped does not train further when it is
    resumed.
    """
    last = checks.kept[-1]["step"] if checks.kept else 0
    if step > last and not checks.is_over:
        now = rule.summary(embed(), step)
        if checks.reference is not None:
            share = rule.share_kept(checks.reference, now)
            checks.kept.append({"step": step, "kept": share})
        checks.reference = now
    return checks.is_over or rule.is_over(checks.shares)


def nearest_rows(e_be: Tensor, k: int) -> Tensor:
    """Return the ``k`` rows (all others, if fewer) most similar to each row.

    Parameters
    ----------
    e_be
        Tensor of shape (B, E), rows of one length.

    Returns
    -------
    Tensor of int64, shape (B, K), on the CPU
        Ascending in each row; a row is not among its own nearest.
    """
    n_rows = len(e_be)
    found = []
    for start in range(0, n_rows, _TILE_ROWS):
        tile = e_be[start : start + _TILE_ROWS]
        similarity = tile @ e_be.T
        own = torch.arange(len(tile), device=tile.device)
        similarity[own, own + start] = -torch.inf
        found.append(similarity.topk(min(k, n_rows - 1), dim=1).indices)
    return torch.cat(found).cpu().sort(dim=1).values


def kept_share(before_bk: Tensor, now_bk: Tensor) -> float:
    """Return the share of ``before_bk`` that is in the same row of ``now_bk``; both ascending, of one shape."""
    # Both are sorted, so a binary search finds where each id would stand in the other row.
    at = torch.searchsorted(now_bk, before_bk).clamp_max(now_bk.shape[1] - 1)
    return float((now_bk.gather(1, at) == before_bk).double().mean())
