"""Seconds of sampling and of training steps; sides take turns, so that a busy machine slows all of them."""

from __future__ import annotations

import importlib.util
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench._frame.page import table
from bench._frame.training import SCRCL, fresh, setup
from scrcl._random import stream
from scrcl.graph.relabel import Relabel, relabel_compiled, relabel_torch_sparse
from scrcl.graph.sample import sample_halo
from scrcl.train.epoch import epochs_of
from scrcl.train.methods.scrcl.blocks import propagated
from scrcl.train.methods.scrcl.objective import objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bench.sampler.data import Points
    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup
    from scrcl.typing import IntArray

__all__ = ["relabel_numpy", "sampling", "sampling_table", "stepping", "stepping_table"]

FANOUTS = (None, 10)
HAS_TORCH_SPARSE = importlib.util.find_spec("torch_sparse") is not None


def relabel_numpy(
    seeds: NDArray[np.int64], neighbours: IntArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Relabel as `scrcl.graph.relabel.Relabel` does, by `numpy.unique` and a binary search."""
    order = np.argsort(seeds)
    ascending = seeds[order]
    distinct, place = np.unique(neighbours, return_inverse=True)
    at = np.minimum(np.searchsorted(ascending, distinct), len(seeds) - 1)
    is_seed = ascending[at] == distinct
    local = np.empty(len(distinct), np.int64)
    local[is_seed] = order[at[is_seed]]
    others = distinct[~is_seed]
    local[~is_seed] = len(seeds) + np.arange(len(others))
    return np.concatenate([seeds, others]), local[place]


SIDES: dict[str, Relabel] = {
    "native": relabel_compiled,
    "NumPy": relabel_numpy,
    **({"torch-sparse": relabel_torch_sparse} if HAS_TORCH_SPARSE else {}),
}


def sampling(
    points: Points, *, minibatch_cells: int, pieces: list[int], repeats: int
) -> list[dict[str, Any]]:
    """Return seeds a second and the size of the halo for each composition, fanout and side.

    Asserts that all sides make the same mini-batches.
    """
    rows: dict[tuple[int, int | None], dict[str, Any]] = {
        (piece, fanout): {
            "n_cells": points.graph.n,
            "piece_cells": piece,
            "fanout": fanout,
            "halo": [],
            "seconds": {name: [] for name in SIDES},
        }
        for piece, fanout in product(pieces, FANOUTS)
    }
    composed = {piece: _epochs(points, minibatch_cells, piece) for piece in pieces}
    for step in range(repeats + 1):
        for (piece, fanout), row in rows.items():
            seeds = composed[piece](step)
            halos = {}
            for name, relabel in SIDES.items():
                rng = stream(0, "bench.keys", step)
                began = time.perf_counter()
                halos[name] = sample_halo(
                    points.graph, seeds, fanout=fanout, rng=rng, relabel=relabel
                )
                if step:  # the first compiles, and loads the graph into memory
                    row["seconds"][name].append((time.perf_counter() - began) / len(seeds))
            ours = halos["native"]
            row["halo"].append(len(ours.nodes) / ours.n_seeds - 1)
            for other in halos.values():
                assert np.array_equal(ours.nodes, other.nodes)
                assert np.array_equal(ours.indices, other.indices)
    return [_medians(row) for row in rows.values()]


def _epochs(points: Points, minibatch_cells: int, piece: int) -> Callable[[int], NDArray[np.int64]]:
    how = _with_pieces(minibatch_cells, piece)
    return epochs_of(how.train, points.graph.n, seed=0).seeds


def _with_pieces(minibatch_cells: int, piece: int) -> Setup[ScrclSettings]:
    return setup(
        minibatch_cells=minibatch_cells,
        minibatches="uniform" if piece == 1 else "partitions",
        piece_cells=piece,
    )


def _medians(row: dict[str, Any]) -> dict[str, Any]:
    """Return medians over repeats; a ratio is the median over pairs of consecutive runs."""
    native = np.array(row["seconds"]["native"])
    return {
        **{name: row[name] for name in ("n_cells", "piece_cells", "fanout")},
        "halo_rows_per_seed": float(np.mean(row["halo"])),
        "seeds_per_s": {name: float(1 / np.median(s)) for name, s in row["seconds"].items()},
        "times_native": {
            name: float(np.median(np.array(s) / native)) for name, s in row["seconds"].items()
        },
    }


def sampling_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table of the rows of `sampling`."""
    others = [name for name in SIDES if name != "native"]
    columns = ["cells", "pieces of", "fanout", "halo rows per seed", "native, seeds/s"]
    columns += [f"{name}, times as long" for name in others]
    lines = [
        [
            f"{row['n_cells']:,}",
            "uniform" if row["piece_cells"] == 1 else f"{row['piece_cells']:,}",
            "all" if row["fanout"] is None else str(row["fanout"]),
            f"{row['halo_rows_per_seed']:.2f}",
            f"{row['seeds_per_s']['native']:,.0f}",
            *(f"{row['times_native'][name]:.2f}" for name in others),
        ]
        for row in rows
    ]
    return table(columns, lines)


def stepping(
    inputs: Inputs, *, minibatch_cells: int, pieces: list[int], repeats: int
) -> list[dict[str, Any]]:
    """Return seconds of making a mini-batch and of a training step on it, for each composition."""
    sides: dict[int, tuple[Any, ...]] = {}
    for piece in pieces:
        how = _with_pieces(minibatch_cells, piece)
        batches, state = SCRCL.batches(inputs, how), fresh(inputs, how)
        sides[piece] = (how.settings, batches, state, {"batch": [], "step": [], "product": []})
    for step in range(repeats + 1):
        for settings, batches, state, seconds in sides.values():
            marks = [time.perf_counter()]
            batch = batches.batch(step)
            marks.append(time.perf_counter())
            terms = objective(state.learner.model, batch, state.learner.moments, settings)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            marks.append(time.perf_counter())
            if step:
                for name, took in zip(("batch", "step"), np.diff(marks), strict=True):
                    seconds[name].append(took)
                if HAS_TORCH_SPARSE:
                    seconds["product"].append(_product_ratio(batch.cells.adjacency, settings.dim))
    whole = {piece: np.add(s["batch"], s["step"]) for piece, (*_, s) in sides.items()}
    return [
        {
            "n_cells": inputs.graph.n,
            "piece_cells": piece,
            "batch_ms": 1e3 * float(np.median(seconds["batch"])),
            "step_ms": 1e3 * float(np.median(seconds["step"])),
            "of_uniform": float(np.median(whole[piece] / whole[pieces[0]])),
            "torch_sparse_product": float(np.median(seconds["product"]))
            if seconds["product"]
            else None,
        }
        for piece, (*_, seconds) in sides.items()
    ]


def _product_ratio(matrix: Any, dim: int) -> float:
    """Return the time of torch-sparse over that of scrcl, for the product with an adjacency and its gradient.

    Both have the transpose beforehand. The matrix of torch-sparse lacks the diagonal.
    """
    from torch_sparse import SparseTensor

    pattern = matrix.pattern
    theirs = SparseTensor(
        rowptr=pattern.offsets_r.long(),
        col=pattern.columns_p.long(),
        value=pattern.in_order(torch.cat(matrix.values)),
        sparse_sizes=pattern.shape,
        is_sorted=True,
    )
    theirs.storage.fill_cache_()
    dense = torch.ones(pattern.shape[1], dim, requires_grad=True)
    sides = (lambda: theirs @ dense, lambda: propagated(torch.Tensor.contiguous, matrix, dense))
    took = []
    for side in sides:
        began = time.perf_counter()
        side().sum().backward()
        took.append(time.perf_counter() - began)
    return took[0] / took[1]


def stepping_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table of the rows of `stepping`."""
    columns = ["cells", "pieces of", "making a mini-batch, ms", "step, ms", "both, over uniform"]
    columns += ["product by torch-sparse, times as long"]
    lines = []
    for row in rows:
        ratio = row["torch_sparse_product"]
        lines.append(
            [
                f"{row['n_cells']:,}",
                "uniform" if row["piece_cells"] == 1 else f"{row['piece_cells']:,}",
                f"{row['batch_ms']:.1f}",
                f"{row['step_ms']:.1f}",
                f"{row['of_uniform']:.2f}",
                "not installed" if ratio is None else f"{ratio:.2f}",
            ]
        )
    return table(columns, lines)
