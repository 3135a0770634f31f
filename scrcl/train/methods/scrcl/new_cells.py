"""Cells that training has not seen, through the trained encoders, beside neighbours that it has.

The new cells' neighbours keep the neighbourhoods and inputs that they were trained with, so a new cell
needs the rows of its neighbours and of no one further, and what comes out for it does not depend on
which other new cells come along.
"""

# Shapes: B = new cells, N = their neighbours, F = input width, D = dim, C = refined_dim.

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scrcl.train.sparse import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scrcl.graph.links import Links
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.typing import FloatArray

__all__ = ["Embedded", "UnseenEncoder"]


class Embedded(NamedTuple):
    """Both representations of cells."""

    embedding: NDArray[np.float32]
    """E = [E^m | E^g], shape (B, 2 D), rows of each half of unit length"""
    refined: NDArray[np.float32]
    """Z = [Z^m | Z^g], shape (B, 2 C)"""


class UnseenEncoder:
    """The trained encoders for cells outside of the graph.

    Parameters
    ----------
    model
        Trained; moved to ``device`` and put in evaluation mode.
    genes
        ndarray of float, shape (n_genes, n_gene_features), as in `scrcl.train.methods.scrcl.minibatch.Inputs`.
    smoothing_mlp, smoothing_gcn
        As in `scrcl.train.config.TrainConfig`.
    device
        Where blocks are computed.
    """

    def __init__(
        self,
        model: ScRCL,
        genes: FloatArray,
        *,
        smoothing_mlp: int,
        smoothing_gcn: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._times = smoothing_mlp, smoothing_gcn + 1
        with torch.no_grad():
            self._association = model.association(to_device(np.array(genes), self._device))

    @property
    def n_levels(self) -> int:
        """How many levels of smoothing `embed` wants to know of the neighbours."""
        return max(self._times)

    @torch.no_grad()
    def embed(
        self, rows: FloatArray, levels: Sequence[FloatArray], ax_nf: FloatArray, links: Links
    ) -> Embedded:
        """Return E and Z of new cells.

        Parameters
        ----------
        rows
            ndarray of float32, shape (B, F): their input rows, not smoothed.
        levels
            ``n_levels`` arrays of float32, shape (N, F): the neighbours' input rows, smoothed 0, 1, ...
            times over their graph.
        ax_nf
            ndarray of float32, shape (N, F): the neighbours' rows of the GCN view.
        links
            The neighbours of the new cells.
        """
        smoothed = [rows]
        for of_nodes in levels:
            smoothed.append(links.smooth(smoothed[-1], of_nodes))
        x_bf, ax_bf = (self._on_device(smoothed[times]) for times in self._times)
        model = self._model
        hidden_nd = model.encode_gcn_hidden(self._on_device(ax_nf)).cpu().numpy()
        hidden_bd = model.encode_gcn_hidden(ax_bf).cpu().numpy()
        propagated_bd = self._on_device(links.smooth(hidden_bd, hidden_nd))
        e_bd = model.encode_mlp(x_bf), model.encode_gcn_output(propagated_bd)
        z_bc = (model.refine(view, self._association) for view in e_bd)
        return Embedded(torch.cat(e_bd, 1).cpu().numpy(), torch.cat([*z_bc], 1).cpu().numpy())

    def _on_device(self, rows: FloatArray) -> torch.Tensor:
        return to_device(np.ascontiguousarray(rows), self._device)
