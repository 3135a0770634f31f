"""The encoder of cells and genes, and the decoder, on tensors.

Cells and genes are the nodes of a bipartite graph: an edge joins a cell and a gene that it expresses. Two
layers of GraphSAGE update each node from itself and from the mean of its neighbours. Batch normalisation follows
each; nothing else is between them, as in the code of the method's authors. The second layer updates only cells,
since nothing reads the genes after it. Means over neighbours are products with dense matrices of a mini-batch,
whose sizes do not depend on the number of cells.

References
----------
Lee et al.: Deep single-cell RNA-seq data clustering with graph prototypical contrastive learning.
Bioinformatics 39(6), 2023. Hamilton, Ying, Leskovec: Inductive representation learning on large graphs.
NeurIPS 2017.
"""

# Shapes: B = seed cells, C = context cells, M = genes, G = some of them, D = gene_dim, H = hidden_dim, E = dim.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import linear, relu

from scrcl.train.methods.scgpcl.norm import BatchNorm
from scrcl.train.methods.scgpcl.zinb import Zinb
from scrcl.train.ranks import Ranks
from scrcl.train.unit_rows import unit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scrcl.train.methods.scgpcl.settings import ScgpclSettings

__all__ = ["Decoder", "Encoder", "Surroundings", "View"]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What genes are updated from.

    Attributes
    ----------
    context_cm
        Tensor of shape (C, M): scaled values of the context cells.
    members_mc
        Tensor of shape (M, C): weights whose product is the mean over the context cells with a gene. A gene that
        none of them has keeps a row of zeros.
    """

    context_cm: Tensor
    members_mc: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """One view of the seed cells.

    Attributes
    ----------
    neighbors_bm
        Tensor of shape (B, M): weights whose product is the mean over a cell's drawn genes.
    surroundings
        Of the genes.
    kept_m, kept_d
        Tensors of zeros and ones, shapes (M,) and (D,): columns that stay, of values and of the table of genes;
        None: all.
    """

    neighbors_bm: Tensor
    surroundings: Surroundings
    kept_m: Tensor | None = None
    kept_d: Tensor | None = None


class Encoder(nn.Module):
    """Both layers, and the learned table of genes.

    Parameters
    ----------
    n_genes
        Number of genes.
    settings
        ``dim``, ``hidden_dim``, ``gene_dim`` and ``one_length`` are read.
    precision
        Of matrix products in training.
    """

    def __init__(
        self, n_genes: int, *, settings: ScgpclSettings, precision: str = "float32"
    ) -> None:
        super().__init__()
        hidden, dim, wide = settings.hidden_dim, settings.dim, settings.gene_dim
        self.table = nn.Parameter(torch.empty(n_genes, wide))
        self.cell_own, self.cell_genes = (nn.Linear(n, hidden, bias=False) for n in (n_genes, wide))
        self.gene_own, self.gene_cells = (nn.Linear(n, hidden, bias=False) for n in (wide, n_genes))
        self.out_own, self.out_genes = (nn.Linear(hidden, dim, bias=False) for _ in range(2))
        self.cell_norm, self.gene_norm = BatchNorm(hidden), BatchNorm(hidden)
        self.out_norm = BatchNorm(dim)
        self.is_narrow = precision == "bfloat16"
        self.one_length = settings.one_length

    def forward(
        self, x_bm: Tensor, views: Sequence[View], n_seeds: int, ranks: Ranks
    ) -> list[Tensor]:
        """Return the embedding of the seed cells in each view, shape (B, E) each.

        Parameters
        ----------
        x_bm
            Scaled values of this rank's seed cells.
        n_seeds
            Seed cells of all ranks.
        """
        genes = self.genes(views)
        with self._products():
            summed = [self._cells_before(x_bm, view) for view in views]
        hidden = self.cell_norm(_floats(summed), n_seeds, ranks)
        with self._products():
            summed = [
                self.out_own(h_bh) + view.neighbors_bm @ self.out_genes(of_genes)
                for h_bh, of_genes, view in zip(hidden, genes, views, strict=True)
            ]
        made: list[Tensor] = self.out_norm(_floats(summed), n_seeds, ranks)
        return made

    def genes(self, views: Sequence[View]) -> list[Tensor]:
        """Return the genes after the first layer in each view, shape (M, H) each."""
        with self._products():
            summed = [self._genes_before(view) for view in views]
        # All ranks have the same context cells.
        made: list[Tensor] = self.gene_norm(_floats(summed), len(self.table), Ranks.alone())
        return made

    def embed(self, x_bm: Tensor, neighbors_bm: Tensor, genes_mh: Tensor) -> Tensor:
        """Return cells as they are clustered, from genes after the first layer; in evaluation mode only."""
        assert not self.training
        alone = Ranks.alone()
        near_bd = neighbors_bm @ self.table
        hidden_bh = self.cell_own(x_bm) + self.cell_genes(near_bd)
        (hidden_bh,) = self.cell_norm([hidden_bh], len(x_bm), alone)
        made_be = self.out_own(hidden_bh) + neighbors_bm @ self.out_genes(genes_mh)
        (embedded,) = self.out_norm([made_be], len(x_bm), alone)
        return self.clustered(embedded)

    def clustered(self, rows_be: Tensor) -> Tensor:
        """Return embedded cells as they are clustered: with ``one_length``, of one length."""
        return _even(rows_be) if self.one_length else rows_be

    def _cells_before(self, x_bm: Tensor, view: View) -> Tensor:
        near_bd = view.neighbors_bm @ _kept(self.table, view.kept_d)
        summed: Tensor = self.cell_own(_kept(x_bm, view.kept_m)) + self.cell_genes(near_bd)
        return summed

    def _genes_before(self, view: View) -> Tensor:
        near = view.surroundings
        context_ch = self.gene_cells(_kept(near.context_cm, view.kept_m))
        own_mh: Tensor = self.gene_own(_kept(self.table, view.kept_d))
        summed: Tensor = own_mh + near.members_mc @ context_ch
        return summed

    def _products(self) -> torch.autocast:
        return _products(self.table, is_narrow=self.is_narrow and self.training)


class Decoder(nn.Module):
    """The encoder's widths in reverse, with batch normalisation, then one head for each parameter of a count.

    Parameters
    ----------
    n_genes
        Number of genes.
    settings
        ``dim``, ``hidden_dim`` and ``reconstruction`` are read.
    precision
        Of matrix products.
    """

    def __init__(
        self, n_genes: int, *, settings: ScgpclSettings, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.is_narrow = precision == "bfloat16"
        self.hidden = nn.Linear(settings.dim, settings.hidden_dim)
        self.norm = BatchNorm(settings.hidden_dim)
        self.mean = nn.Linear(settings.hidden_dim, n_genes)
        if settings.reconstruction == "zinb":
            self.dispersion = nn.Linear(settings.hidden_dim, n_genes)
            self.dropout = nn.Linear(settings.hidden_dim, n_genes)

    def forward(self, views: Sequence[Tensor], n_seeds: int, ranks: Ranks) -> list[Tensor]:
        """Return what the heads read, shape (B, H) for each view of shape (B, E).

        Parameters
        ----------
        n_seeds
            Seed cells of all ranks.
        """
        with _products(self.mean.weight, is_narrow=self.is_narrow):
            summed = [self.hidden(rows_be) for rows_be in views]
        return [relu(rows_bh) for rows_bh in self.norm(_floats(summed), n_seeds, ranks)]

    def values(self, hidden_bh: Tensor, genes_g: Tensor) -> Tensor:
        """Return scaled values of some genes, shape (B, G)."""
        (made_bg,) = self._outputs([self.mean], hidden_bh, genes_g)
        return made_bg

    def counts(self, hidden_bh: Tensor, genes_g: Tensor) -> Zinb:
        """Return the distribution of each count of some genes."""
        return Zinb(*self._outputs([self.mean, self.dispersion, self.dropout], hidden_bh, genes_g))

    def _outputs(self, heads: list[nn.Linear], hidden_bh: Tensor, genes_g: Tensor) -> list[Tensor]:
        """Return the outputs of heads for some genes."""
        with _products(hidden_bh, is_narrow=self.is_narrow):
            made = [linear(hidden_bh, each.weight[genes_g], each.bias[genes_g]) for each in heads]
        return [each.float() for each in made]


def _even(rows_be: Tensor) -> Tensor:
    """Return rows scaled to the length that batch normalisation gives them on average, the root of their width.

    Both contrasts compare directions, so only these are learned to part cells; the decoder reads lengths too.
    """
    scaled_be: Tensor = unit_rows(rows_be) * rows_be.shape[1] ** 0.5
    return scaled_be


def _products(of: Tensor, *, is_narrow: bool) -> torch.autocast:
    """Return a context in which matrix products have the precision of training."""
    return torch.autocast(of.device.type, torch.bfloat16, enabled=is_narrow)


def _floats(views: Sequence[Tensor]) -> list[Tensor]:
    return [rows.float() for rows in views]


def _kept(rows: Tensor, kept: Tensor | None) -> Tensor:
    return rows if kept is None else rows * kept
