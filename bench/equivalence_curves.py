"""The exact loss over all cells along training, full-batch and by mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.equivalence_runs import EVERY_CELL, whole_loss
from scrcl.train.config import TrainConfig
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    from bench.equivalence_runs import Labelled

__all__ = ["curves", "curves_table"]


def curves(
    data: Labelled, seed: int, *, batch_cells: int, steps: int, every: int, modes: list[str]
) -> list[dict[str, Any]]:
    """Exact loss after every so many steps, a record a mode."""
    found = []
    for mode in ["full", *modes]:
        changes: dict[str, Any] = {"batch_cells": EVERY_CELL}
        if mode != "full":
            changes = {"batch_cells": min(batch_cells, -(-data.n_cells // 2)), "negatives": mode}
        config = TrainConfig(steps=steps, stop="never", **changes)
        state = TrainState.fresh(data.inputs, config, seed=seed)
        batches = BatchSource(data.inputs, config, seed=seed)
        losses = [_total(state, data, config)]
        for step in range(every, steps + 1, every):
            train(state, batches, config.model_copy(update={"steps": step}))
            losses.append(_total(state, data, config))
        found.append(
            {"dataset": data.name, "seed": seed, "mode": mode, "every": every, "losses": losses}
        )
    return found


def _total(state: TrainState, data: Labelled, config: TrainConfig) -> float:
    return sum(whole_loss(state, data.inputs, config).values())


def curves_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: the loss of full batches, then how far the others are from it; means over sets."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    by_mode = {mode: np.array([r["losses"] for r in rows if r["mode"] == mode]) for mode in modes}
    full, others = by_mode["full"], modes[1:]
    lines = [f"| steps | full | {' | '.join(others)} |", "|---" * (2 + len(others)) + "|"]
    for at in range(full.shape[1]):
        beside = [by_mode[mode][:, at] / full[:, at] - 1 for mode in others]
        told = [f"{part.mean():+.1%} ± {part.std():.1%}" for part in beside]
        lines.append(f"| {at * rows[0]['every']} | {full[:, at].mean():.4f} | {' | '.join(told)} |")
    return lines
