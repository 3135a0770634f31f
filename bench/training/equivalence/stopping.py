"""Agreement with labels during training, and the step at which the rule without labels stops it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import table
from bench._frame.training import trained
from bench.training.equivalence.runs import EVERY_CELL, scored
from scrcl.train.config import TrainConfig
from scrcl.train.stop import Looks, Stop, stands_still

if TYPE_CHECKING:
    from bench.training.equivalence.runs import TrainingSet
    from scrcl.train.methods.scrcl.model import ScRCL

__all__ = ["stopping", "stopping_table"]


class _Watch(Stop):
    """Checks stability as training does, never stops it, and scores the clusters against labels."""

    def __init__(self, data: TrainingSet, config: TrainConfig, seed: int, first: int) -> None:
        super().__init__(data.inputs, config, seed=seed)
        self._data, self._seed, self._first = data, seed, first
        self.ari: dict[int, float] = {}

    def look(self, model: ScRCL, looks: Looks, step: int) -> bool:
        """Check, score, and let training continue."""
        super().look(model, looks, step)
        if step % self._every == 0 and step >= self._first:
            self.ari[step] = scored(model, self._data, self._seed)["ari"]
        return False

    def ended(self, looks: Looks) -> bool:
        """Let training continue."""
        del looks
        return False


def stopping(
    data: TrainingSet, seed: int, *, minibatch_cells: list[int], first: int, steps: int
) -> list[dict[str, Any]]:
    """Return ARI during training from step ``first`` on, and the step at which the rule would have stopped."""
    rows = []
    for cells in minibatch_cells:
        config = TrainConfig(steps=steps, minibatch_cells=min(cells, -(-data.n_cells // 2)))
        if cells >= EVERY_CELL:
            config = TrainConfig(steps=steps, minibatch_cells=EVERY_CELL)
        watch = _Watch(data, config, seed, first)
        state = trained(data.inputs, config, seed, stop=watch)
        kept = state.looks.kept
        stable = [
            int(kept[n - 1]["step"])
            for n in range(1, len(kept) + 1)
            if stands_still([look["kept"] for look in kept[:n]], config.patience)
        ]
        rows.append(
            {
                "dataset": data.name,
                "spatial": data.spatial,
                "seed": seed,
                "minibatch_cells": min(config.minibatch_cells, data.n_cells),
                "full": cells >= EVERY_CELL,
                "stopped_at": max(min(stable, default=steps), first),
                "ari": watch.ari,
                "kept": kept,
            }
        )
    return rows


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
