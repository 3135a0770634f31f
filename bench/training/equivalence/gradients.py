"""The gradient of mini-batches against that of all cells, at a few points of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench._frame.page import table
from bench._frame.training import SCRCL, setup, trained
from bench.training.equivalence.runs import EVERY_CELL
from scrcl.train.methods.scrcl.moments import Moments
from scrcl.train.methods.scrcl.objective import objective

if TYPE_CHECKING:
    from bench.training.equivalence.runs import TrainingSet
    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.minibatch import Minibatch
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup

__all__ = ["gradients", "gradients_table"]

EPOCHS = 3
"""Epochs that are compared; as many before them fill the running means."""


def gradients(
    data: TrainingSet,
    *,
    batch_sizes: list[int],
    pieces: list[int],
    points: list[int],
    modes: list[str],
) -> list[dict[str, Any]]:
    """Return the cosine of mini-batch gradients with the full one, and the bias of their mean over an epoch.

    Mini-batches of pieces have the first of ``batch_sizes``.
    """
    rows = []
    for steps in points:
        how = setup(steps=steps, minibatch_cells=EVERY_CELL)
        start = trained(data.inputs, how).learner.model
        full = _full(start, data.inputs)
        shapes = [(size, 1) for size in batch_sizes] + [(batch_sizes[0], piece) for piece in pieces]
        for size, piece in shapes:
            if size >= data.n_cells:
                continue
            for mode in modes:
                how = setup(
                    minibatch_cells=size,
                    negatives=mode,
                    minibatches="uniform" if piece == 1 else "partitions",
                    piece_cells=piece,
                )
                found = _epochs(start, data.inputs, how)
                cosines = found @ full / (np.linalg.norm(found, axis=1) * np.linalg.norm(full))
                mean = found.mean(axis=0)
                rows.append(
                    {
                        "dataset": data.name,
                        "after_steps": steps,
                        "minibatch_cells": size,
                        "piece_cells": piece,
                        "negatives": mode,
                        "n_batches": len(found),
                        "cosine": float(cosines.mean()),
                        "cosine_spread": float(cosines.std()),
                        "bias": float(np.linalg.norm(mean - full) / np.linalg.norm(full)),
                        "length": float(mean @ full / (full @ full)),
                    }
                )
    return rows


def _full(model: ScRCL, inputs: Inputs) -> Any:
    how = setup(minibatch_cells=EVERY_CELL)
    return _gradient(model, SCRCL.batches(inputs, how).batch(0), Moments(0.0), how.settings)


def _epochs(model: ScRCL, inputs: Inputs, how: Setup[ScrclSettings]) -> Any:
    """Return the gradients of all mini-batches of some epochs: shape (n_batches, n_weights).

    The running means are filled by as many epochs before them.
    """
    settings = how.settings
    batches, moments = SCRCL.batches(inputs, how), Moments(settings.moments_decay)
    n_steps = EPOCHS * batches.n_batches
    found = [
        _gradient(model, batches.batch(step), moments, settings)
        for step in range(2 * n_steps)
        if settings.negatives == "moments" or step >= n_steps
    ]
    return np.stack(found[-n_steps:])


def _gradient(model: ScRCL, batch: Minibatch, moments: Moments, settings: ScrclSettings) -> Any:
    model.zero_grad()
    terms = objective(model, batch, moments, settings)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    flat = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(flat).double().numpy()


def gradients_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each size and composition, and a column for each point and estimator."""
    points = sorted({row["after_steps"] for row in rows})
    modes = list(dict.fromkeys(row["negatives"] for row in rows))
    columns = [f"{mode}, after {steps} steps" for steps in points for mode in modes]
    lines = []
    for size, piece in dict.fromkeys((row["minibatch_cells"], row["piece_cells"]) for row in rows):
        cells = []
        for steps in points:
            for mode in modes:
                own = [
                    row
                    for row in rows
                    if (row["minibatch_cells"], row["piece_cells"]) == (size, piece)
                    and (row["after_steps"], row["negatives"]) == (steps, mode)
                ]
                mean = {
                    key: np.mean([row[key] for row in own])
                    for key in ("cosine", "cosine_spread", "bias")
                }
                cells.append(
                    f"{mean['cosine']:.3f} ± {mean['cosine_spread']:.3f}, {mean['bias']:.1%}"
                )
        kind = "uniform" if piece == 1 else f"{piece:,}"
        lines.append([f"{size:,}", kind, *cells])
    return table(["mini-batch", "pieces", *columns], lines)
