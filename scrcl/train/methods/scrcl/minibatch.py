"""The mini-batches of scRCL: seed cells (`scrcl.train.epoch`) and their direct neighbours, the halo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import stream
from scrcl.graph.relabel import relabeller
from scrcl.graph.sample import Halo, sample_halo
from scrcl.io.arrays import KEPT_MAP_BYTES, gathered, release
from scrcl.train.methods.scrcl.inputs import Inputs
from scrcl.train.methods.scrcl.loss import Edges, Part
from scrcl.train.methods.scrcl.model import Cells
from scrcl.train.minibatches import MinibatchSource
from scrcl.train.pairs import pattern_of
from scrcl.train.sparse import SparseMatrix, to_device

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup
    from scrcl.train.sparse import Pattern
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Minibatch", "ScrclMinibatches", "n_drawn"]


@dataclass(frozen=True, eq=False)
class Minibatch:
    """The tensors of one step.

    Attributes
    ----------
    cells
        Anchors: the seed cells, then their halo.
    edges
        The visited pairs.
    genes
        Tensor of shape (n_genes, n_gene_features), the same in every mini-batch.
    negatives
        Cells drawn from all cells, if ``negatives`` is "sampled".
    n_drawn
        Number of them, on all ranks.
    """

    cells: Cells
    edges: Edges
    genes: Tensor
    negatives: Cells | None
    n_drawn: int = 0

    @property
    def n_seeds(self) -> int:
        """Number of seed cells, on all ranks."""
        return self.edges.n_seeds


class ScrclMinibatches(MinibatchSource[Inputs, Minibatch]):
    """All mini-batches of a run. Memory maps are read by gathered rows.

    Parameters
    ----------
    inputs
        Rows and graph.
    setup
        Of its settings ``minibatch_cells``, ``minibatches``, ``piece_cells``, ``fanout``, ``sampler``,
        ``negatives`` and ``n_negatives`` are read.

    Raises
    ------
    InputError
        There are more ranks than cells to share.
    MissingDependencyError
        torch-sparse is chosen but not installed.
    """

    def __init__(self, inputs: Inputs, setup: Setup[ScrclSettings]) -> None:
        super().__init__(inputs, setup)
        self._fanout = setup.train.fanout
        self._scale = inputs.graph.inverse_sqrt_degrees
        self._genes = to_device(np.array(inputs.genes), self.device)
        self._relabel = relabeller(setup.train.sampler)

    @property
    def n_drawn(self) -> int:
        """Negatives drawn from all cells for a mini-batch."""
        return n_drawn(self.setup.settings, self)

    @property
    def is_constant(self) -> bool:
        """Whether every step has all cells and all of their neighbours."""
        return self.n_batches == 1 and self._fanout is None

    def fewest_shared(self) -> int:
        """Return the smallest number of cells that ranks share in a step, negatives included."""
        return min(super().fewest_shared(), self.n_drawn or self.n_cells)

    def batch(self, step: int) -> Minibatch:
        """Return this rank's part of the mini-batch of one step."""
        seeds = self.seeds(step)
        first, last = self.ranks.cut(len(seeds))
        halo, share = self._halo(seeds[first:last], step, "train.halo")
        cells, pattern = self._cells(halo, share, anchors=len(halo.nodes))
        degrees = self.inputs.graph.degrees[halo.nodes].astype(self.inputs.x.dtype)
        weights = None if share is None else to_device(share, self.device)
        part = None if self.ranks.is_alone else self._part(seeds, first, halo)
        edges = Edges(pattern, weights, to_device(degrees, self.device), self.n_cells, part)
        batch = Minibatch(cells, edges, self._genes, self._negatives(step), self.n_drawn)
        release(self.inputs.graph.indices, above=KEPT_MAP_BYTES)
        return batch

    def _part(self, seeds: IntArray, first: int, halo: Halo) -> Part:
        """Return the position of the rank's seeds among all, and the halo cells that are other ranks' seeds."""
        around = halo.nodes[halo.n_seeds :]
        positions = np.minimum(np.searchsorted(seeds, around), len(seeds) - 1)
        at = np.flatnonzero(seeds[positions] == around)
        return Part(
            len(seeds),
            first,
            to_device(at + halo.n_seeds, self.device),
            to_device(positions[at], self.device),
        )

    def _negatives(self, step: int) -> Cells | None:
        if not self.n_drawn:
            return None
        rng = stream(self.setup.seed, "train.negatives", step)
        drawn = np.sort(rng.choice(self.n_cells, self.n_drawn, replace=False))
        first, last = self.ranks.cut(self.n_drawn)
        halo, share = self._halo(drawn[first:last], step, "train.negatives.halo")
        return self._cells(halo, share, anchors=halo.n_seeds)[0]

    def _halo(self, seeds: IntArray, step: int, name: str) -> tuple[Halo, FloatArray | None]:
        """Return the halo and, with a fanout, the weight of each neighbour that was drawn."""
        fanout = self._fanout
        rng = stream(self.setup.seed, name, *self.ranks.counters(step))
        halo = sample_halo(self.inputs.graph, seeds, fanout=fanout, rng=rng, relabel=self._relabel)
        if fanout is None:
            return halo, None
        drawn = np.diff(halo.indptr)
        share = self.inputs.graph.degrees[seeds] / np.maximum(drawn, 1)
        return halo, np.repeat(share, drawn).astype(self.inputs.x.dtype)

    def _cells(
        self, halo: Halo, share: FloatArray | None, *, anchors: int
    ) -> tuple[Cells, Pattern]:
        """Gather the rows of a halo; of the MLP view only the first ``anchors``."""
        inputs, nodes, dtype = self.inputs, halo.nodes, self.inputs.x.dtype
        pattern = pattern_of(halo.indptr, halo.indices, n_columns=len(nodes), device=self.device)
        scale = self._scale[nodes]
        own = scale[: halo.n_seeds]
        values = np.repeat(own, np.diff(halo.indptr)) * scale[halo.indices]
        if share is not None:
            values *= share
        cells = Cells(
            x=to_device(gathered(inputs.x, nodes[:anchors], above=KEPT_MAP_BYTES), self.device),
            ax=to_device(gathered(inputs.ax, nodes, above=KEPT_MAP_BYTES), self.device),
            adjacency=SparseMatrix.on(
                pattern,
                to_device(values.astype(dtype), self.device),
                to_device((own * own).astype(dtype), self.device),
            ),
        )
        return cells, pattern


def n_drawn(settings: ScrclSettings, batches: MinibatchSource[Inputs, Minibatch]) -> int:
    """Return the number of negatives drawn for a mini-batch; a mini-batch of all cells needs none."""
    if settings.negatives != "sampled" or batches.n_batches == 1:
        return 0
    return min(settings.n_negatives, batches.n_cells)
