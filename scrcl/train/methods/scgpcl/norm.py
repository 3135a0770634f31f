"""Batch normalisation over the cells of all ranks."""

# Shapes: B = this rank's rows, H = width.

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.train.ranks import Ranks

__all__ = ["BatchNorm"]

_MOMENTUM = 0.1
_EPSILON = 1e-5


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm1d`, except that means and variances are those of all ranks' rows.

    `torch.nn.SyncBatchNorm` needs a GPU.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, rows_bh: Tensor, n_rows: int, ranks: Ranks) -> Tensor:
        """Return the rows with means of 0 and variances of 1, scaled and shifted.

        Parameters
        ----------
        n_rows
            Rows of all ranks.
        ranks
            The ranks that share rows. A single process where all have the same rows.
        """
        # Variances of rows around a value near their mean lose no digits.
        centred_bh = rows_bh - self.running_mean.clone()
        if self.training:
            sums = torch.cat([centred_bh.sum(0), centred_bh.square().sum(0)])
            mean_h, square_h = (ranks.sum(sums) / n_rows).chunk(2)
            var_h = (square_h - mean_h.square()).clamp_min(0)
            centred_bh = centred_bh - mean_h
            self._follow(mean_h.detach(), var_h.detach(), n_rows)
        else:
            var_h = self.running_var
        return centred_bh * (self.weight * torch.rsqrt(var_h + _EPSILON)) + self.bias

    @torch.no_grad()
    def _follow(self, mean_h: Tensor, var_h: Tensor, n_rows: int) -> None:
        """Move the running means and variances."""
        self.running_mean += _MOMENTUM * mean_h
        unbiased_h = var_h * (n_rows / max(n_rows - 1, 1))
        self.running_var += _MOMENTUM * (unbiased_h - self.running_var)
