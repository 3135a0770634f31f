"""Embedding of cells that scRCL was not trained on, from their neighbours in the run.

The run's cells keep the neighbourhoods and inputs that they were trained with. So a new cell needs only
the rows of its direct neighbours, and its embedding does not depend on other new cells.
"""

# Shapes: B = new cells, N = their neighbours, F = input width, D = dim, C = refined_dim.

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scrcl.graph.propagate import adjacency_weights, propagate
from scrcl.graph.renumber import positions_in
from scrcl.io.arrays import gathered, release
from scrcl.prep.artifacts import COMPONENTS, FEATURES, PCA, PRESENT_GENES
from scrcl.train.methods.scrcl.inputs import (
    cell_totals,
    gene_values,
    input_scale,
    scaled,
    write_base,
)
from scrcl.train.sparse import to_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scrcl._contract import Opener
    from scrcl.graph.links import Links
    from scrcl.train.method import NewCells
    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Work
    from scrcl.typing import FloatArray

__all__ = ["ScrclNewCells"]


class Both(NamedTuple):
    """Both embeddings of cells."""

    embedding: NDArray[np.float32]
    """E = [E^m | E^g], shape (B, 2 D), rows of each half of unit length"""
    refined: NDArray[np.float32]
    """Z = [Z^m | Z^g], shape (B, 2 C)"""


class ScrclNewCells:
    """A `scrcl.train.method.NewCellEncoder`.

    Parameters
    ----------
    model
        Trained; moved to the device of ``work`` and put in evaluation mode.
    inputs
        What it was trained on.
    new
        Artifacts of the run and of the new cells.
    settings, work
        Settings of scRCL, and how to go through all cells.
    """

    def __init__(
        self, model: ScRCL, inputs: Inputs, new: NewCells, settings: ScrclSettings, work: Work
    ) -> None:
        self._encoder = UnseenEncoder(
            model,
            inputs.genes,
            smoothing_mlp=settings.smoothing_mlp,
            smoothing_gcn=settings.smoothing_gcn,
            device=work.device,
        )
        self._inputs, self._space, self._dim = inputs, new.space, settings.dim
        self._scale = input_scale(new.atlas, settings, block_rows=work.block_rows)
        self._features = _features(new, settings)
        self._levels = _levels(new, inputs, settings, self._encoder.n_levels, work)
        assert inputs.cells is not None, "inputs of a run name the cell of each row"
        self._row_of = positions_in(inputs.cells)
        self.widths: Mapping[str, int] = {
            "embedding": 2 * settings.dim,
            "refined": 2 * settings.refined_dim,
            **({"graph_view": settings.dim} if new.space == "graph_view" else {}),
        }
        self.values_per_neighbor = max(inputs.x.shape[1], settings.dim)

    def embed(self, start: int, stop: int, links: Links) -> Mapping[str, FloatArray]:
        """Return E and Z of new cells ``start`` to ``stop``, and E^g if it is clustered."""
        at, inputs = self._row_of[links.nodes], self._inputs
        rows = scaled(self._features(start, stop), self._scale)
        levels = [gathered(level, at) for level in self._levels]
        found = self._encoder.embed(rows, levels, gathered(inputs.ax, at), links)
        for array in (inputs.x, inputs.ax):
            release(array)
        if self._space != "graph_view":
            return found._asdict()
        return {**found._asdict(), "graph_view": found.embedding[:, self._dim :]}


class UnseenEncoder:
    """The trained encoders, for cells outside of the graph.

    Parameters
    ----------
    model
        Trained; moved to ``device`` and put in evaluation mode.
    genes
        ndarray of float, shape (n_genes, n_gene_features), as in `scrcl.train.methods.scrcl.inputs.Inputs`.
    smoothing_mlp, smoothing_gcn
        As in `scrcl.train.methods.scrcl.settings.ScrclSettings`.
    device
        Device for blocks.
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
        """Number of smoothing levels of the neighbours that `embed` needs."""
        return max(self._times)

    @torch.no_grad()
    def embed(
        self, rows: FloatArray, levels: Sequence[FloatArray], ax_nf: FloatArray, links: Links
    ) -> Both:
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
        return Both(torch.cat(e_bd, 1).cpu().numpy(), torch.cat([*z_bc], 1).cpu().numpy())

    def _on_device(self, rows: FloatArray) -> torch.Tensor:
        return to_device(np.ascontiguousarray(rows), self._device)


def _levels(
    new: NewCells, inputs: Inputs, settings: ScrclSettings, n_levels: int, work: Work
) -> list[FloatArray]:
    """Return the run's input rows smoothed 0, 1, ... times.

    Training kept one of these levels. The others are computed again, in the scratch folder.
    """
    levels: list[FloatArray] = []
    for times in range(n_levels):
        if times == settings.smoothing_mlp:
            levels.append(inputs.x)
            continue
        path = new.scratch / f"level{times}.npy"
        if times == 0:
            assert inputs.cells is not None
            order = np.asarray(inputs.cells, np.int64)
            levels.append(write_base(new.atlas, order, path, settings, block_rows=work.block_rows))
            continue
        propagate(
            levels[-1],
            adjacency_weights(inputs.graph),
            path,
            n_times=1,
            block_rows=work.block_rows,
            n_workers=work.n_workers,
        )
        levels.append(np.load(path, mmap_mode="r"))
    return levels


def _features(new: NewCells, settings: ScrclSettings) -> Callable[[int, int], FloatArray]:
    """Return what reads the new cells' features, not scaled: scores, or values of genes."""
    if settings.features != "pca":
        return _gene_values(new.atlas, new.own, cell_totals(new.own, settings))
    scores = new.own.open(COMPONENTS)

    def own_scores(start: int, stop: int) -> FloatArray:
        rows = np.array(scores[start:stop])
        release(scores)
        return rows

    return own_scores


def _gene_values(
    atlas: Opener, own: Opener, totals: FloatArray | None
) -> Callable[[int, int], FloatArray]:
    """Return what reads log values of the selected genes, or counts; missing ones follow from the scores."""
    scores, store, present = own.open(COMPONENTS), own.open(FEATURES), own.open(PRESENT_GENES)
    pca = atlas.open(PCA)
    absent = np.flatnonzero(~present)
    directions, mean = pca.loadings[absent].T, pca.mean[absent]

    def genes(start: int, stop: int) -> FloatArray:
        rows = np.zeros((stop - start, len(present)), np.float32)
        factors = None if totals is None else totals[start:stop]
        rows[:, present] = gene_values(store.rows(start, stop), factors)
        guessed = np.maximum(scores[start:stop] @ directions + mean, 0)
        rows[:, absent] = guessed if factors is None else np.expm1(guessed) * factors[:, None]
        release(scores)
        return rows

    return genes
