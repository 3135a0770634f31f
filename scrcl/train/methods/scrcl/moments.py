"""Running means over the atlas, from the batches seen so far."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scrcl.train.methods.scrcl.loss import Others, Population

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Moments"]


class Moments:
    """Exponential moving average of `Population`, corrected for its start from nothing.

    A batch's losses take their VALUES from the average and the GRADIENT with respect to the
    population from the batch: the average knows thousands of cells more, but only the batch knows
    how its embeddings move with the weights.

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
        """Number of batches in the average."""
        return self._n_batches

    def mean(self) -> Population:
        """Return the corrected average; at least one batch must have been observed."""
        assert self._n_batches > 0, "the average of no batch is not defined"
        weight = 1 - self._decay**self._n_batches
        return Population(**{name: total / weight for name, total in self._sums.items()})

    def observe(self, now: Population) -> Others:
        """Take the means over a batch's seed cells in; return what its losses use."""
        batch = {field.name: getattr(now, field.name) for field in fields(now)}
        for name, value in batch.items():
            kept = self._decay * self._sums[name] if self._n_batches else 0
            self._sums[name] = kept + (1 - self._decay) * value.detach()
        self._n_batches += 1
        mean = vars(self.mean())
        whole = {name: mean[name] + (value - value.detach()) for name, value in batch.items()}
        share = (1 - self._decay) / (1 - self._decay**self._n_batches)
        return Others(Population(**whole), now, share)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"n_batches": self._n_batches, "sums": dict(self._sums)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Take over what `state_dict` returned."""
        self._n_batches = state["n_batches"]
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
