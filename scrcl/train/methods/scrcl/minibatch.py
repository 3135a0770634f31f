"""Batches on the device, numbered by step: batch n is a function of the seed, of n, and of the size of batches.

A batch carries its seed cells (`scrcl.train.epoch`) and their 1-hop halo. Where it holds every cell it
is built once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl._random import stream
from scrcl.errors import InputError
from scrcl.graph.csr import normalized_adjacency
from scrcl.graph.relabel import relabeller
from scrcl.graph.sample import Halo, sample_halo
from scrcl.io.arrays import KEPT_MAP_BYTES, gathered, release
from scrcl.train.epoch import epochs_of
from scrcl.train.methods.scrcl.loss import Edges, Part
from scrcl.train.methods.scrcl.model import Cells
from scrcl.train.pairs import pattern_of
from scrcl.train.ranks import Ranks
from scrcl.train.sparse import SparseMatrix, to_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from scrcl.graph.csr import Graph
    from scrcl.train.config import TrainConfig
    from scrcl.train.sparse import Pattern
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Batch", "BatchSource", "Inputs", "smooth_genes"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What training reads: rows of cells and of genes, and the cell graph.

    Attributes
    ----------
    x
        ndarray or memory map of float, shape (n_cells, n_features): the MLP view's input.
    ax
        ndarray or memory map of float, shape (n_cells, n_features): the GCN view's input,
        propagated once over the graph.
    genes
        ndarray of float, shape (n_genes, n_gene_features), from `smooth_genes`.
    graph
        Cell graph, of the rows of ``x``.
    cells
        ndarray or memory map of int, shape (n_cells,): row ``r`` of all of these is cell ``cells[r]``.
        Rows are in the order of a partition, so that near cells are near rows; None: rows are cells.

    Raises
    ------
    InputError
        When the shapes do not fit each other.
    """

    x: FloatArray
    ax: FloatArray
    genes: FloatArray
    graph: Graph
    cells: IntArray | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape != self.ax.shape or len(self.x) != self.graph.n:
            msg = (
                f"x and ax must have one row for each of the graph's {self.graph.n} cells and one "
                f"width; got {self.x.shape} and {self.ax.shape}. Write both for the same cells."
            )
            raise InputError(msg)
        if self.graph.n < 2:
            msg = f"cells must be at least 2; got {self.graph.n}. Keep more cells."
            raise InputError(msg)
        if self.cells is not None and self.cells.shape != (self.graph.n,):
            msg = (
                f"cells must name the graph's {self.graph.n} rows; got shape {self.cells.shape}. "
                "Write them with the rows."
            )
            raise InputError(msg)


def smooth_genes(sketch: FloatArray, graph: Graph) -> FloatArray:
    """Return the gene encoder's input: the sketch propagated once over the gene graph, float32."""
    smoothed: FloatArray = normalized_adjacency(graph) @ np.asarray(sketch, np.float32)
    return smoothed


@dataclass(frozen=True, eq=False)
class Batch:
    """The tensors of one step.

    Attributes
    ----------
    cells
        Anchors: the seed cells, then their halo.
    edges
        The pairs visited.
    genes
        Tensor of shape (n_genes, n_gene_features), the same in every batch.
    negatives
        Cells drawn from the whole atlas, where the settings ask for them.
    n_drawn
        How many were drawn, by all ranks.
    """

    cells: Cells
    edges: Edges
    genes: Tensor
    negatives: Cells | None
    n_drawn: int = 0

    @property
    def n_seeds(self) -> int:
        """Number of seed cells, those of other ranks among them."""
        return self.edges.n_seeds


class BatchSource:
    """All batches of a run.

    Parameters
    ----------
    inputs
        Rows and graph; memory maps are read by gathered rows.
    config
        ``batch_cells``, ``batches``, ``piece_cells``, ``fanout``, ``sampler``, ``negatives`` and
        ``n_negatives`` are read.
    seed
        The run's seed.
    device
        Where batches arrive.
    ranks
        Whose part of each batch to build: a run of its seed cells, and of the drawn ones.

    Raises
    ------
    InputError
        When there are more ranks than cells to share out.
    MissingDependencyError
        When torch-sparse is asked for and not installed.
    """

    def __init__(
        self,
        inputs: Inputs,
        config: TrainConfig,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        ranks: Ranks | None = None,
    ) -> None:
        self._inputs, self._config, self._seed = inputs, config, seed
        self._ranks = ranks or Ranks.alone()
        self._device = torch.device(device)
        self._n_cells = inputs.graph.n
        self._scale = inputs.graph.inverse_sqrt_degrees
        self._genes = to_device(np.array(inputs.genes), self._device)
        self._epochs = epochs_of(config, self._n_cells, seed=seed)
        self._relabel = relabeller(config.sampler)
        self._check_ranks()

    @property
    def n_cells(self) -> int:
        """All cells that batches are drawn from."""
        return self._n_cells

    @property
    def n_batches(self) -> int:
        """Batches in an epoch."""
        return self._epochs.n_batches

    @property
    def batch_cells(self) -> int:
        """Most seed cells in a batch."""
        return min(self._config.batch_cells, self._n_cells)

    @property
    def n_drawn(self) -> int:
        """Cells drawn from the whole atlas for a batch."""
        if self._config.negatives != "sampled" or self.n_batches == 1:
            return 0
        return min(self._config.n_negatives, self._n_cells)

    def n_seeds(self, step: int) -> int:
        """Return the number of seed cells of a step."""
        return len(self._epochs.seeds(step))

    def with_batches_of(self, batch_cells: int) -> BatchSource:
        """Return the same source with batches of another size."""
        config = self._config.model_copy(update={"batch_cells": batch_cells})
        return BatchSource(
            self._inputs, config, seed=self._seed, device=self._device, ranks=self._ranks
        )

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Yield the batches of steps ``step``, ``step + 1``, ... without end."""
        if self.n_batches == 1 and self._config.fanout is None:
            whole = self.batch(step)
            while True:
                yield whole
        with ThreadPoolExecutor(1, "scrcl-batch") as ahead:
            coming = ahead.submit(self.batch, step)
            while True:
                ready = coming.result()
                step += 1
                coming = ahead.submit(self.batch, step)
                yield ready

    def batch(self, step: int) -> Batch:
        """Build the batch of one step."""
        seeds = self._epochs.seeds(step)
        first, last = self._ranks.cut(len(seeds))
        halo, share = self._halo(seeds[first:last], step, "train.halo")
        cells, pattern = self._cells(halo, share, anchors=len(halo.nodes))
        degrees = self._inputs.graph.degrees[halo.nodes].astype(self._inputs.x.dtype)
        weights = None if share is None else to_device(share, self._device)
        part = None if self._ranks.is_alone else self._part(seeds, first, halo)
        edges = Edges(pattern, weights, to_device(degrees, self._device), self._n_cells, part)
        batch = Batch(cells, edges, self._genes, self._negatives(step), self.n_drawn)
        release(self._inputs.graph.indices, above=KEPT_MAP_BYTES)
        return batch

    def _part(self, seeds: IntArray, first: int, halo: Halo) -> Part:
        """Return where the rank's seeds are among all, and which of its halo are another rank's."""
        beside = halo.nodes[halo.n_seeds :]
        places = np.minimum(np.searchsorted(seeds, beside), len(seeds) - 1)
        at = np.flatnonzero(seeds[places] == beside)
        return Part(
            len(seeds),
            first,
            to_device(at + halo.n_seeds, self._device),
            to_device(places[at], self._device),
        )

    def _negatives(self, step: int) -> Cells | None:
        if not self.n_drawn:
            return None
        rng = stream(self._seed, "train.negatives", step)
        drawn = np.sort(rng.choice(self._n_cells, self.n_drawn, replace=False))
        first, last = self._ranks.cut(self.n_drawn)
        halo, share = self._halo(drawn[first:last], step, "train.negatives.halo")
        return self._cells(halo, share, anchors=halo.n_seeds)[0]

    def _halo(self, seeds: IntArray, step: int, name: str) -> tuple[Halo, FloatArray | None]:
        """Return the halo and, where neighbours were left out, the weight of each that was not."""
        fanout = self._config.fanout
        rng = stream(self._seed, name, *self._ranks.counters(step))
        halo = sample_halo(self._inputs.graph, seeds, fanout=fanout, rng=rng, relabel=self._relabel)
        if fanout is None:
            return halo, None
        drawn = np.diff(halo.indptr)
        share = self._inputs.graph.degrees[seeds] / np.maximum(drawn, 1)
        return halo, np.repeat(share, drawn).astype(self._inputs.x.dtype)

    def _cells(
        self, halo: Halo, share: FloatArray | None, *, anchors: int
    ) -> tuple[Cells, Pattern]:
        """Gather the rows of a halo (of the MLP view only the first ``anchors``)."""
        inputs, nodes, dtype = self._inputs, halo.nodes, self._inputs.x.dtype
        pattern = pattern_of(halo.indptr, halo.indices, n_columns=len(nodes), device=self._device)
        scale = self._scale[nodes]
        own = scale[: halo.n_seeds]
        values = np.repeat(own, np.diff(halo.indptr)) * scale[halo.indices]
        if share is not None:
            values *= share
        cells = Cells(
            x=to_device(gathered(inputs.x, nodes[:anchors], above=KEPT_MAP_BYTES), self._device),
            ax=to_device(gathered(inputs.ax, nodes, above=KEPT_MAP_BYTES), self._device),
            adjacency=SparseMatrix.on(
                pattern,
                to_device(values.astype(dtype), self._device),
                to_device((own * own).astype(dtype), self._device),
            ),
        )
        return cells, pattern

    def _check_ranks(self) -> None:
        smallest = min(self._n_cells // self.n_batches, self.n_drawn or self._n_cells)
        if self._ranks.size > smallest:
            msg = (
                f"ranks must each have a cell of a batch, or more; got {self._ranks.size} ranks for "
                f"{smallest} cells. Start fewer processes, or raise train.batch_cells."
            )
            raise InputError(msg)
