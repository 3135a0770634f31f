"""scRCL's encoders and its refinement, on tensors.

Each cell has two views: an MLP of its own input row (phi), and a GCN of its neighbours' rows (psi). The
GCN's first propagation has no weights, so it is done once before training: ``ax`` holds the rows of A^X,
and a mini-batch needs only the direct neighbours of its seed cells. The same is true of the gene encoder
(varphi): its input ``genes`` is the smoothed sketch of the genes. Refinement multiplies E by the small
matrix W U, and never forms the cells x genes product E W.

References
----------
scRCL (arXiv 2512.10640), Eq. 1, 6, 7.
"""

# Shapes: A = anchors (seed cells, then their halo), B = seed cells, F = input width, D = dim,
# M = genes, R = width of the genes' sketch, C = refined_dim.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear

from scrcl.train.methods.scrcl.blocks import Anchors, propagated
from scrcl.train.unit_rows import unit_rows

if TYPE_CHECKING:
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.sparse import SparseMatrix

__all__ = ["Cells", "ScRCL", "Views"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Seed cells, and what the encoders need of their neighbours.

    Attributes
    ----------
    x
        Tensor of shape (A, F): the MLP view's input; B rows are enough if anchors are not encoded.
    ax
        Tensor of shape (A, F): the GCN view's input, already propagated once.
    adjacency
        `SparseMatrix` of shape (B, A): the seeds' rows of the normalised adjacency.
    """

    x: Tensor
    ax: Tensor
    adjacency: SparseMatrix


@dataclass(frozen=True, eq=False)
class Views:
    """Both views' embeddings of the seeds, rows of unit length, and how anchors are encoded."""

    em_bd: Tensor
    eg_bd: Tensor
    zm_bc: Tensor
    zg_bc: Tensor
    anchors: Anchors


class ScRCL(nn.Module):
    """The three encoders and the refinement matrix W.

    Parameters
    ----------
    n_features, n_gene_features, n_genes
        Width of the cells' input, width of the genes' sketch, and number of genes.
    settings
        ``dim``, ``refined_dim``, ``dropout`` and ``leaky_slope`` are read.
    precision
        Of matrix products in training.
    generator
        Draws the initial weights (Glorot) on the CPU.
    """

    def __init__(
        self,
        n_features: int,
        n_gene_features: int,
        n_genes: int,
        *,
        settings: ScrclSettings,
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        dim, refined = settings.dim, settings.refined_dim
        self.phi = nn.Linear(n_features, dim)
        self.psi_1 = nn.Linear(n_features, dim)
        self.psi_2 = nn.Linear(dim, dim)
        self.psi_out = nn.Linear(dim, dim)
        self.varphi = nn.Linear(n_gene_features, refined)
        self.W = nn.Parameter(torch.empty(dim, n_genes))
        self.dropout = settings.dropout
        self.leaky_slope = settings.leaky_slope
        self.precision = torch.bfloat16 if precision == "bfloat16" else None
        self._initialize(generator)

    def encode_mlp(self, x_af: Tensor) -> Tensor:
        """Return E^m, shape (A, D), rows of unit length."""
        return unit_rows(self._layer(x_af, self.phi.weight, self.phi.bias))

    def encode_gcn_hidden(self, ax_af: Tensor) -> Tensor:
        """Return the first layer's output, shape (A, D), which the second layer propagates."""
        return self._layer(ax_af, self.psi_1.weight, self.psi_1.bias)

    def encode_gcn_output(
        self, propagated_bd: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return E^g, shape (B, D), rows of unit length, from the propagated first layer."""
        hidden_bd = self._layer(propagated_bd, self.psi_2.weight, self.psi_2.bias)
        last = self.psi_out
        made = self._linear(self._drop(hidden_bd, generator), last.weight, last.bias)
        return unit_rows(made.to(hidden_bd.dtype))

    def encode_gcn(self, cells: Cells, generator: torch.Generator | None = None) -> Tensor:
        """Return E^g of the seed cells, shape (B, D), rows of unit length."""
        first = self.psi_1
        propagated_bd = propagated(self._layer, cells.adjacency, cells.ax, first.weight, first.bias)
        return self.encode_gcn_output(propagated_bd, generator)

    def gene_embedding(self, genes_mr: Tensor) -> Tensor:
        """Return U, shape (M, C)."""
        return self._layer(genes_mr, self.varphi.weight, self.varphi.bias)

    def association(self, genes_mr: Tensor) -> Tensor:
        """Return W U, shape (D, C): all that refinement needs of the genes."""
        return self.W @ self.gene_embedding(genes_mr)

    def refine(self, e_ad: Tensor, association_dc: Tensor) -> Tensor:
        """Return Z = E (W U), shape (A, C)."""
        return self._linear(e_ad, association_dc.T, None).to(e_ad.dtype)

    def forward(
        self, cells: Cells, association_dc: Tensor, generator: torch.Generator | None = None
    ) -> Views:
        """Return both views of the cells; ``generator`` draws dropout, on the cells' device."""
        anchors = self._anchors(cells.x, association_dc, generator)
        n_seeds = cells.adjacency.pattern.shape[0]
        em_bd, zm_bc = anchors.encode(*(rows[:n_seeds] for rows in anchors.rows), *anchors.weights)
        eg_bd = self.encode_gcn(cells, generator)
        zg_bc = unit_rows(self.refine(self._drop(eg_bd, generator), association_dc))
        return Views(em_bd, eg_bd, zm_bc, zg_bc, anchors)

    def _anchors(
        self, x_af: Tensor, association_dc: Tensor, generator: torch.Generator | None
    ) -> Anchors:
        weights = (self.phi.weight, self.phi.bias, association_dc)
        if self.dropout == 0 or not self.training:
            # Without dropout, an anchor's embedding depends only on its row.
            def encode(x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
                em = unit_rows(self._layer(x, *weights[:2]))
                return em, unit_rows(self.refine(em, weights[2]))

            return Anchors((x_af,), weights, encode)

        def encode_kept(x: Tensor, kept: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
            em = unit_rows(self._layer(x, *weights[:2]))
            return em, unit_rows(self.refine(em * kept, weights[2]))

        # The mask is drawn once for all blocks: the backward pass encodes blocks again with the same one.
        kept_ad = self._kept(x_af.new_empty(len(x_af), self.phi.out_features), generator)
        return Anchors((x_af, kept_ad), weights, encode_kept)

    def _layer(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = leaky_relu(self._linear(rows, weight, bias), self.leaky_slope, inplace=True)
        return made.to(rows.dtype)

    def _linear(self, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the product in the precision of training; its sums are float32 in any case."""
        if self.precision is None or not self.training:
            return linear(rows, weight, bias)
        narrow = None if bias is None else bias.to(self.precision)
        return linear(rows.to(self.precision), weight.to(self.precision), narrow)

    def _drop(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.dropout == 0 or not self.training:
            return hidden
        return hidden * self._kept(torch.empty_like(hidden), generator)

    def _kept(self, mask: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fill ``mask`` with zeros and scales: entries that stay are scaled so that sums stay the same."""
        return mask.bernoulli_(1 - self.dropout, generator=generator).div_(1 - self.dropout)

    def _initialize(self, generator: torch.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)
