"""What training needs of an optimizer, and Adam.

Adam is torch's kernel without torch's optimizer class, whose first object loads the whole compiler of torch. That takes
as long as importing torch (2.5 CPU seconds), in every process that trains. The values are those of `torch.optim.Adam`
with ``fused=True``, bit by bit.

References
----------
Kingma and Ba: Adam: a method for stochastic optimization, ICLR 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.optim.adam import adam

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

__all__ = ["Adam", "Optimizer"]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_NAMES = ("exp_avg", "exp_avg_sq", "step")


class Optimizer(Protocol):
    """What training needs of an optimizer. Those of torch have it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Change each weight by its gradient."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Set what `state_dict` returned."""


class Adam:
    """An optimizer with one group of parameters, and the part of torch's interface that training uses.

    Parameters
    ----------
    parameters
        Weights that are changed in place. Those without a gradient stay as they are.
    lr, weight_decay
        Learning rate, which ``param_groups[0]["lr"]`` can change before any step, and penalty on squared weights.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        self._parameters = list(parameters)
        self._weight_decay = weight_decay
        self._moments: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]

    @torch.no_grad()
    def step(self) -> None:
        """Change each weight by its gradient."""
        weights, moments = [], []
        for number, weight in enumerate(self._parameters):
            if weight.grad is None:
                continue
            if number not in self._moments:
                n_steps = torch.zeros((), dtype=torch.float32, device=weight.device)
                self._moments[number] = (
                    torch.zeros_like(weight),
                    torch.zeros_like(weight),
                    n_steps,
                )
            weights.append(weight)
            moments.append(self._moments[number])
        if not weights:
            return
        means, squares, steps = (list(each) for each in zip(*moments, strict=True))
        adam(
            list(weights),
            [weight.grad for weight in weights if weight.grad is not None],
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self.param_groups[0]["lr"],
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for weight in self._parameters:
            if set_to_none:
                weight.grad = None
            elif weight.grad is not None:
                weight.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the moments of the gradients by the number of the weight, named as by torch; not copies."""
        state = {
            number: dict(zip(_NAMES, moments, strict=True))
            for number, moments in self._moments.items()
        }
        return {"state": state, "param_groups": [{"lr": self.param_groups[0]["lr"]}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set copies of what `state_dict` returned, or that of `torch.optim.Adam`, on the device of the weights."""
        for number, moments in state["state"].items():
            device = self._parameters[number].device
            mean, square, n_steps = (moments[name].clone().to(device) for name in _NAMES)
            self._moments[number] = mean, square, n_steps
        self.param_groups[0]["lr"] = state["param_groups"][0]["lr"]
