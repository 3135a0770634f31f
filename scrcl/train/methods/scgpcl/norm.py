"""Batch normalisation of each view over the cells of all ranks."""

# Shapes: B = this rank's rows of a view, H = width.

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scrcl.train.ranks import Ranks

__all__ = ["BatchNorm"]

_MOMENTUM = 0.1
_EPSILON = 1e-5


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm1d` of one view after the other, with means and variances of all ranks' rows.

    `torch.nn.SyncBatchNorm` needs a GPU.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, views: Sequence[Tensor], n_rows: int, ranks: Ranks) -> list[Tensor]:
        """Return the rows of each view with means of 0 and variances of 1, scaled and shifted.

        Parameters
        ----------
        views
            Shape (B, H) each.
        n_rows
            Rows of a view on all ranks.
        ranks
            The ranks that share rows. A single process where all have the same rows.
        """
        # Variances of rows around a value near their mean lose no digits.
        near_h = self.running_mean.clone()
        centred = [rows_bh - near_h for rows_bh in views]
        if not self.training:
            return [self._scaled(rows_bh, self.running_var) for rows_bh in centred]
        sums = [each for rows_bh in centred for each in (rows_bh.sum(0), rows_bh.square().sum(0))]
        moments = (ranks.sum(torch.cat(sums)) / n_rows).chunk(len(sums))
        normed = []
        for rows_bh, mean_h, square_h in zip(centred, moments[::2], moments[1::2], strict=True):
            var_h = (square_h - mean_h.square()).clamp_min(0)
            self._follow(near_h + mean_h.detach(), var_h.detach(), n_rows)
            normed.append(self._scaled(rows_bh - mean_h, var_h))
        return normed

    def _scaled(self, centred_bh: Tensor, var_h: Tensor) -> Tensor:
        return centred_bh * (self.weight * torch.rsqrt(var_h + _EPSILON)) + self.bias

    @torch.no_grad()
    def _follow(self, mean_h: Tensor, var_h: Tensor, n_rows: int) -> None:
        """Move the running means and variances."""
        self.running_mean += _MOMENTUM * (mean_h - self.running_mean)
        unbiased_h = var_h * (n_rows / max(n_rows - 1, 1))
        self.running_var += _MOMENTUM * (unbiased_h - self.running_var)
