"""Everything that training changes: encoder, decoder, prototypes, and the clusters of fine-tuning."""

# Shapes: M = genes, K = clusters, E = dim.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from scrcl._random import torch_stream
from scrcl.train.method import Learner
from scrcl.train.methods.scgpcl.model import Decoder, Encoder

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.train.methods.scgpcl.inputs import Inputs
    from scrcl.train.methods.scgpcl.settings import ScgpclSettings
    from scrcl.train.setup import Setup

__all__ = ["ScgpclLearner", "level_sizes"]

_LEVELS = (1.0, 1.5, 2.0)
"""Prototypes of each level, for each cluster."""


class ScgpclLearner(Learner):
    """Encoder and decoder, with what is computed from many cells between steps.

    Attributes
    ----------
    prototypes
        Buffer of shape (sum of `level_sizes`, E): the levels one after the other. Zeros if each mini-batch has its own.
    centres
        Parameter of shape (K, E): means of the clusters, learned in fine-tuning.
    sizes
        Buffer of shape (K,): sums of shares over a subset of cells.
    is_tuned
        Buffer: fine-tuning has begun.
    """

    prototypes: Tensor
    sizes: Tensor
    is_tuned: Tensor

    def __init__(self, inputs: Inputs, setup: Setup[ScgpclSettings]) -> None:
        super().__init__()
        self.settings, self.seed = setup.settings, setup.seed
        settings = setup.settings
        self.encoder = Encoder(inputs.n_genes, settings=settings, precision=setup.train.precision)
        self.decoder = Decoder(inputs.n_genes, settings=settings, precision=setup.train.precision)
        k, n_prototypes = inputs.n_clusters, sum(level_sizes(inputs.n_clusters, inputs.n_cells))
        self.centres = nn.Parameter(torch.zeros(k, settings.dim))
        self.register_buffer("prototypes", torch.zeros(n_prototypes, settings.dim))
        self.register_buffer("sizes", torch.ones(k))
        self.register_buffer("is_tuned", torch.tensor(0.0))
        self._level_sizes = level_sizes(k, inputs.n_cells)
        self._initialize(torch_stream(setup.seed, "train.model"))
        if settings.reconstruction == "zinb":
            # Counts of most genes are far below 1, and the decoder would spend its first steps on that.
            rates = np.log(np.maximum(inputs.rates, 1e-4))
            self.decoder.mean.bias.data.copy_(torch.from_numpy(rates))

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """The prototypes of each level."""
        return tuple(torch.split(self.prototypes, self._level_sizes))

    def _initialize(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # The usual range of torch. Next to it, genes of the table have weight in the sum of a cell.
                most = module.in_features**-0.5
                for weights in module.parameters():
                    nn.init.uniform_(weights, -most, most, generator=generator)
        nn.init.normal_(self.encoder.table, generator=generator)


def level_sizes(n_clusters: int, n_cells: int) -> list[int]:
    """Return the number of prototypes of each level, at most one for each cell."""
    return [min(int(n_clusters * factor), n_cells) for factor in _LEVELS]
