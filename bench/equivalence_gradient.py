"""The gradient of mini-batches beside that of all cells, at a few points of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.equivalence_runs import EVERY_CELL, trained
from scrcl.train.config import TrainConfig
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.methods.scrcl.moments import Moments
from scrcl.train.methods.scrcl.objective import objective

if TYPE_CHECKING:
    from bench.equivalence_runs import Labelled
    from scrcl.train.methods.scrcl.minibatch import Batch, Inputs
    from scrcl.train.methods.scrcl.model import ScRCL

__all__ = ["gradients", "gradients_table"]

EPOCHS = 3
"""Looked at; as many before them fill the running means."""


def gradients(
    data: Labelled,
    *,
    batch_sizes: list[int],
    pieces: list[int],
    points: list[int],
    modes: list[str],
) -> list[dict[str, Any]]:
    """Cosine of batches' gradients to the full one, and bias of their mean over an epoch.

    Batches of pieces are taken at the first of ``batch_sizes``.
    """
    rows = []
    for steps in points:
        start = trained(data.inputs, TrainConfig(steps=steps, batch_cells=EVERY_CELL), 0).model
        full = _full(start, data.inputs)
        shapes = [(size, 1) for size in batch_sizes] + [(batch_sizes[0], piece) for piece in pieces]
        for size, piece in shapes:
            if size >= data.n_cells:
                continue
            for mode in modes:
                config = TrainConfig(
                    batch_cells=size,
                    negatives=mode,
                    batches="uniform" if piece == 1 else "partitions",
                    piece_cells=piece,
                )
                found = _epochs(start, data.inputs, config)
                cosines = found @ full / (np.linalg.norm(found, axis=1) * np.linalg.norm(full))
                mean = found.mean(axis=0)
                rows.append(
                    {
                        "dataset": data.name,
                        "after_steps": steps,
                        "batch_cells": size,
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
    config = TrainConfig(batch_cells=EVERY_CELL)
    return _gradient(model, BatchSource(inputs, config, seed=0).batch(0), Moments(0.0), config)


def _epochs(model: ScRCL, inputs: Inputs, config: TrainConfig) -> Any:
    """Gradients of all batches of some epochs, with means that have run for as many; shape (batches, weights)."""
    source, moments = BatchSource(inputs, config, seed=0), Moments(config.moments_decay)
    n_steps = EPOCHS * source.n_batches
    found = [
        _gradient(model, source.batch(step), moments, config)
        for step in range(2 * n_steps)
        if config.negatives == "moments" or step >= n_steps
    ]
    return np.stack(found[-n_steps:])


def _gradient(model: ScRCL, batch: Batch, moments: Moments, config: TrainConfig) -> Any:
    model.zero_grad()
    terms = objective(model, batch, moments, config)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    flat = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(flat).double().numpy()


def gradients_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: a row a size and composition, mean over sets; a column a point of training and estimator."""
    points = sorted({row["after_steps"] for row in rows})
    modes = list(dict.fromkeys(row["negatives"] for row in rows))
    head = [f"{mode}, after {steps} steps" for steps in points for mode in modes]
    lines = [f"| batch | pieces | {' | '.join(head)} |", "|---" * (2 + len(head)) + "|"]
    for size, piece in dict.fromkeys((row["batch_cells"], row["piece_cells"]) for row in rows):
        told = []
        for steps in points:
            for mode in modes:
                own = [
                    row
                    for row in rows
                    if (row["batch_cells"], row["piece_cells"]) == (size, piece)
                    and (row["after_steps"], row["negatives"]) == (steps, mode)
                ]
                mean = {
                    key: np.mean([row[key] for row in own])
                    for key in ("cosine", "cosine_spread", "bias")
                }
                told.append(
                    f"{mean['cosine']:.3f} ± {mean['cosine_spread']:.3f}, {mean['bias']:.1%}"
                )
        kind = "uniform" if piece == 1 else f"{piece:,}"
        lines.append(f"| {size:,} | {kind} | {' | '.join(told)} |")
    return lines
