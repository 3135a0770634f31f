"""Embedding of all cells, layer by layer, so that no neighbour is encoded twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl._atomic import atomic_path, remove
from scrcl.graph.propagate import adjacency_weights, propagate
from scrcl.graph.renumber import positions_in
from scrcl.io.arrays import RowWriter, gathered, release, row_blocks
from scrcl.train.sparse import to_device

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.typing import FloatArray, OnRows

__all__ = ["embed_all", "write_graph_view"]


@torch.no_grad()
def embed_all(
    model: ScRCL,
    inputs: Inputs,
    folder: Path,
    *,
    block_rows: int = 65_536,
    device: str | torch.device = "cpu",
    on_rows: OnRows | None = None,
) -> None:
    """Write both embeddings of every cell, with full neighbourhoods.

    Parameters
    ----------
    model
        Trained; moved to ``device`` and put in evaluation mode.
    inputs
        What it was trained on. Results are in the order of the cells, not of the rows.
    folder
        Receives ``embedding.npy``, E = [E^m | E^g], float32 of shape (n_cells, 2 dim), rows of
        each half of unit length, and ``refined.npy``, Z = [Z^m | Z^g], float32 of shape
        (n_cells, 2 refined_dim). It also holds two temporary files of shape (n_cells, dim).
    block_rows
        Rows held at a time, with their edges. So memory does not grow with the number of cells,
        but pages of files count as resident while the system keeps them.
    device
        Device for blocks.
    on_rows
        Called with the number of rows finished in the last of three passes.
    """
    device = torch.device(device)
    model.to(device).eval()
    hidden, propagated = (folder / f".{name}.npy" for name in ("hidden", "propagated"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _write_hidden(model, inputs, hidden, block_rows, device)
        points = np.load(hidden, mmap_mode="r")
        weights = adjacency_weights(inputs.graph)
        propagate(points, weights, propagated, n_times=1, block_rows=block_rows)
        _write_outputs(model, inputs, propagated, folder, block_rows, device, on_rows)
    finally:
        remove(hidden)
        remove(propagated)


def _write_hidden(
    model: ScRCL, inputs: Inputs, out: Path, block_rows: int, device: torch.device
) -> None:
    """Write the GCN's first layer, float32 of shape (n_cells, dim), in the order of the rows."""
    n_cells = inputs.graph.n
    with RowWriter(out, n_cells, model.psi_1.out_features) as hidden:
        for start, stop in row_blocks(n_cells, block_rows):
            ax = to_device(np.array(inputs.ax[start:stop]), device)
            hidden.write(start, model.encode_gcn_hidden(ax).cpu().numpy())
            release(inputs.ax)


def _write_outputs(
    model: ScRCL,
    inputs: Inputs,
    propagated: Path,
    folder: Path,
    block_rows: int,
    device: torch.device,
    on_rows: OnRows | None,
) -> None:
    """Read rows in the order of the cells, and write in one stream.

    Random reads of maps are cheaper than random writes, and a full disk then raises an error.
    """
    n_cells, dim = inputs.graph.n, model.psi_out.out_features
    row_of = np.arange(n_cells) if inputs.cells is None else positions_in(inputs.cells)
    association = model.association(to_device(np.array(inputs.genes), device))
    source = np.load(propagated, mmap_mode="r")
    with (
        atomic_path(folder / "embedding.npy") as e_path,
        atomic_path(folder / "refined.npy") as z_path,
        RowWriter(e_path, n_cells, 2 * dim) as embedding,
        RowWriter(z_path, n_cells, 2 * association.shape[1]) as refined,
    ):
        for start, stop in row_blocks(n_cells, block_rows):
            rows = row_of[start:stop]
            em = model.encode_mlp(to_device(gathered(inputs.x, rows), device))
            eg = model.encode_gcn_output(to_device(gathered(source, rows), device))
            embedding.write(start, _joined(em, eg))
            refined.write(
                start, _joined(model.refine(em, association), model.refine(eg, association))
            )
            if on_rows is not None:
                on_rows(stop - start)


def _joined(left: Tensor, right: Tensor) -> FloatArray:
    joined: FloatArray = torch.cat([left, right], 1).cpu().numpy()
    return joined


def write_graph_view(folder: Path, *, block_rows: int) -> None:
    """Write ``graph_view.npy``, float32 of shape (n_cells, dim): E^g, the second half of ``embedding.npy``.

    Neighbour search and k-means need rows that are contiguous. Half of each row of E would be copied into
    memory.
    """
    embedding = np.load(folder / "embedding.npy", mmap_mode="r")
    dim = embedding.shape[1] // 2
    with RowWriter(folder / "graph_view.npy", len(embedding), dim) as view:
        for start, stop in row_blocks(len(embedding), block_rows):
            view.write(start, np.ascontiguousarray(embedding[start:stop, dim:]))
            release(embedding)
