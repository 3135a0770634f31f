"""The exact loss over all cells during training, full-batch and by mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import table
from bench._frame.training import setup, trained_in_parts
from bench.training.equivalence.runs import batches_of, whole_loss

if TYPE_CHECKING:
    from bench.training.equivalence.runs import TrainingSet

__all__ = ["curves", "curves_table"]


def curves(
    data: TrainingSet, seed: int, *, minibatch_cells: int, steps: int, every: int, modes: list[str]
) -> list[dict[str, Any]]:
    """Return the exact loss every ``every`` steps, in a row for each mode."""
    found = []
    for mode in ["full", *modes]:
        how = setup(seed, **batches_of(mode, data, minibatch_cells))
        losses = [
            sum(whole_loss(state.learner, data.inputs, how).values())
            for state in trained_in_parts(data.inputs, how, range(0, steps + 1, every))
        ]
        found.append(
            {"dataset": data.name, "seed": seed, "mode": mode, "every": every, "losses": losses}
        )
    return found


def curves_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table of the loss of full batches and the relative difference of the others; means over sets."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    by_mode = {mode: np.array([r["losses"] for r in rows if r["mode"] == mode]) for mode in modes}
    full, others = by_mode["full"], modes[1:]
    lines = []
    for at in range(full.shape[1]):
        apart = [by_mode[mode][:, at] / full[:, at] - 1 for mode in others]
        shown = [f"{part.mean():+.1%} ± {part.std():.1%}" for part in apart]
        lines.append([at * rows[0]["every"], f"{full[:, at].mean():.4f}", *shown])
    return table(["steps", "full", *others], lines)
