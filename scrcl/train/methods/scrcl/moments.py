"""Running means over all cells, from the mini-batches so far."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scrcl.train.methods.scrcl.loss import Others, Population

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Moments"]


class Moments:
    """Exponential moving average of `Population`, corrected for its start at zero.

    The losses of a mini-batch take their values from the average, and the gradient with respect to the
    population from the mini-batch. The average holds thousands of cells more, but only the mini-batch's
    embeddings have a gradient.

    Parameters
    ----------
    decay
        Share of the average that a step keeps.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._n_batches = 0
        self._sums: dict[str, Tensor] = {}

    @property
    def n_batches(self) -> int:
        """Number of mini-batches in the average."""
        return self._n_batches

    def mean(self) -> Population:
        """Return the corrected average; needs at least one mini-batch."""
        assert self._n_batches > 0, "there is no average before the first mini-batch"
        # The weights of the mini-batches so far add up to this, not to 1 (as in Adam's bias correction).
        weight = 1 - self._decay**self._n_batches
        return Population(**{name: total / weight for name, total in self._sums.items()})

    def observe(self, now: Population) -> Others:
        """Add the means over a mini-batch's seed cells; return what its losses use."""
        batch = {field.name: getattr(now, field.name) for field in fields(now)}
        for name, value in batch.items():
            # New tensors, never in place: `ScrclLearner.step_state` keeps the old ones for a failed step.
            kept = self._decay * self._sums[name] if self._n_batches else 0
            self._sums[name] = kept + (1 - self._decay) * value.detach()
        self._n_batches += 1
        mean = vars(self.mean())
        # The term in brackets is zero, with the gradient of the mini-batch's mean.
        whole = {name: mean[name] + (value - value.detach()) for name, value in batch.items()}
        # Weight of this mini-batch in the corrected average.
        share = (1 - self._decay) / (1 - self._decay**self._n_batches)
        return Others(Population(**whole), now, share)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"n_batches": self._n_batches, "sums": dict(self._sums)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Set what `state_dict` returned."""
        self._n_batches = state["n_batches"]
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
