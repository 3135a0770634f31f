"""Agreement with labels during training, and the step at which the rule without labels stops it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import table
from bench._frame.training import setup, trained_in_parts
from bench.training.equivalence.runs import EVERY_CELL, scored
from scrcl.train.settings import TrainSettings
from scrcl.train.stop import NeighborsStable

if TYPE_CHECKING:
    from bench.training.equivalence.runs import TrainingSet

__all__ = ["stopping", "stopping_table"]


def stopping(
    data: TrainingSet, seed: int, *, minibatch_cells: list[int], first: int, steps: int
) -> list[dict[str, Any]]:
    """Return ARI during training from step ``first`` on, and the step at which the rule would have stopped."""
    rows = []
    for cells in minibatch_cells:
        full = cells >= EVERY_CELL
        # More patience than steps: stability is checked, and training never stops.
        how = setup(
            seed,
            steps=steps,
            minibatch_cells=EVERY_CELL if full else min(cells, -(-data.n_cells // 2)),
            stop="auto",
            patience=steps + 1,
        )
        every = how.train.stop_every
        ends = range(-(-first // every) * every, steps + 1, every)
        ari: dict[int, float] = {}
        kept: list[dict[str, float]] = []
        for state in trained_in_parts(data.inputs, how, ends):
            ari[state.step] = scored(state.learner, data, seed)["ari"]
            kept = state.checks.kept
        rows.append(
            {
                "dataset": data.name,
                "spatial": data.spatial,
                "seed": seed,
                "minibatch_cells": min(how.train.minibatch_cells, data.n_cells),
                "full": full,
                "stopped_at": max(min(_stable(kept), default=steps), first),
                "ari": ari,
                "kept": kept,
            }
        )
    return rows


def _stable(kept: list[dict[str, float]]) -> list[int]:
    """Return the steps of the checks at which the default rule would have stopped training."""
    rule, shares = NeighborsStable(TrainSettings().patience), [one["kept"] for one in kept]
    return [int(one["step"]) for n, one in enumerate(kept, 1) if rule.is_over(shares[:n])]


def stopping_table(rows: list[dict[str, Any]], fixed: int) -> list[str]:
    """Return a table with a row for each set: ARI at the stop, after ``fixed`` steps, at the end, and at best."""
    columns = ["set", "mini-batches", "runs", "stopped after", "ARI then", f"after {fixed} steps"]
    columns += ["at the last step", "best step, by labels"]
    lines: list[list[object]] = []
    means = defaultdict(list)
    for name in sorted({row["dataset"] for row in rows}):
        for full in (True, False):
            own = [row for row in rows if row["dataset"] == name and row["full"] is full]
            if not own:
                continue
            at = [(_aris(row), row["stopped_at"]) for row in own]
            found = [
                [ari[stopped] for ari, stopped in at],
                [ari[fixed] for ari, _ in at],
                [ari[max(ari)] for ari, _ in at],
                [max(ari.values()) for ari, _ in at],
            ]
            steps = "-".join(
                str(step) for step in sorted({min(s for _, s in at), max(s for _, s in at)})
            )
            kind = "full" if full else f"{own[0]['minibatch_cells']:,}"
            aris = [float(np.mean(values)) for values in found]
            means[own[0]["spatial"], full].append(aris)
            lines.append([name, kind, len(own), steps, *(f"{value:.3f}" for value in aris)])
    for (spatial, full), found in sorted(means.items()):
        title = f"mean, {'spatial' if spatial else 'no coordinates'}"
        kind = "full" if full else "mini"
        shown = [f"{value:.3f}" for value in np.mean(found, axis=0)]
        lines.append([f"**{title}**", kind, "", "", *shown])
    return table(columns, lines)


def _aris(row: dict[str, Any]) -> dict[int, float]:
    return {int(step): value for step, value in row["ari"].items()}
