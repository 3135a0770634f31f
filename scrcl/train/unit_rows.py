"""Rows of unit length."""

# Shapes: A = rows, D = width.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["unit_rows"]

_SHORTEST = 1e-12


def unit_rows(x_ad: Tensor) -> Tensor:
    """Scale each row to length one. A row of zeros stays as it is, and gets no gradient.

    `torch.nn.functional.normalize` multiplies the gradient of such a row by 1e12. One cell without any
    selected gene would then dominate all others.
    """
    units: Tensor = _UnitRows.apply(x_ad)  # type: ignore[no-untyped-call]
    return units


class _UnitRows(torch.autograd.Function):
    """With u = x / |x|, the gradient is (g - (g . u) u) / |x|: its part along u is lost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1)
        # A scale of zero also stops the gradient, in the backward pass.
        scale = torch.where(length > _SHORTEST, length.reciprocal(), 0.0)
        units = x * scale[:, None]
        # The caller keeps the result anyway, so saving it instead of the input takes no extra memory.
        ctx.save_for_backward(units, scale)
        return units

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        units, scale = ctx.saved_tensors
        along = torch.linalg.vecdot(grads[0], units)
        return torch.addcmul(grads[0], units, along[:, None], value=-1).mul_(scale[:, None])
