"""Runs of training on labelled sets, scored where training ends and on the way there."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.sample_accuracy import LABELS, inputs_before_training
from bench.sample_data import reordered
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterConfig
from scrcl.engine.config import RunConfig
from scrcl.engine.evaluate import score
from scrcl.graph.partition import partition
from scrcl.train.config import TrainConfig
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import EMBEDDING, embed_all
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.methods.scrcl.objective import objective
from scrcl.train.state import TrainState
from scrcl.train.stop import Looks, Stop, stands_still

if TYPE_CHECKING:
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL

__all__ = [
    "EVERY_CELL",
    "Labelled",
    "accuracy",
    "accuracy_table",
    "labelled",
    "stopping",
    "stopping_table",
    "trained",
]

EVERY_CELL = 10**9
LIST_CELLS = 128
SCORES = ("acc", "nmi", "ari")


@dataclass(frozen=True, eq=False)
class Labelled:
    """A set as training reads it, made once for all seeds and modes, and its labels."""

    name: str
    spatial: bool
    inputs: Inputs
    components: Any
    """Those that final clusters look at; None for tissues"""
    labels: Any
    k: int

    @property
    def n_cells(self) -> int:
        """Cells that were kept."""
        return len(self.labels)


def labelled(path: Path) -> Labelled:
    """Prepare one file; sets with coordinates get their graph from them."""
    import anndata

    opened = anndata.read_zarr(path) if path.suffix == ".zarr" else anndata.read_h5ad(path)
    labels, spatial = opened.obs[LABELS].to_numpy(), "spatial" in opened.obsm
    del opened
    config = RunConfig(device="cpu", spatial=spatial)
    inputs, kept, components = inputs_before_training(path, config)
    inputs = reordered(inputs, partition(inputs.x, seed=0, list_rows=LIST_CELLS).order)
    return Labelled(path.stem, spatial, inputs, components, labels[kept], len(set(labels)))


def scored(model: ScRCL, data: Labelled, seed: int) -> dict[str, float]:
    """Agreement with the labels of the final clusters that the model gives as it is."""
    training = model.training
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        embed_all(model, data.inputs, Path(folder))
        points = np.load(Path(folder) / EMBEDDING)
    model.train(training)
    found = cluster(points, data.k, config=ClusterConfig(), seed=seed, scores=data.components)
    scores = score(found, data.labels)
    return {name: float(scores[name]) for name in SCORES}


@torch.no_grad()
def whole_loss(state: TrainState, inputs: Inputs, config: TrainConfig) -> dict[str, float]:
    """Return the terms over all cells, exactly."""
    exact = config.model_copy(
        update={"batch_cells": EVERY_CELL, "negatives": "batch", "fanout": None}
    )
    batch = BatchSource(inputs, exact, seed=0).batch(0)
    terms = objective(state.model, batch, state.moments, exact)
    return {name: float(value) for name, value in terms.items()}


def trained(
    inputs: Inputs, config: TrainConfig, seed: int, *, stop: Stop | None = None
) -> TrainState:
    """Train from the start."""
    state = TrainState.fresh(inputs, config, seed=seed)
    train(state, BatchSource(inputs, config, seed=seed), config, stop=stop)
    return state


def accuracy(
    data: Labelled, seed: int, *, batch_cells: int, steps: int, modes: list[str]
) -> list[dict[str, Any]]:
    """Scores and exact loss after so many steps, full-batch and by each estimator of the means."""
    rows = []
    for mode in ["full", *modes]:
        changes: dict[str, Any] = {"batch_cells": EVERY_CELL}
        if mode != "full":
            # Two batches at least.
            changes = {"batch_cells": min(batch_cells, -(-data.n_cells // 2)), "negatives": mode}
        config = TrainConfig(steps=steps, **changes)
        state = trained(data.inputs, config, seed)
        rows.append(
            {
                "dataset": data.name,
                "spatial": data.spatial,
                "n_cells": data.n_cells,
                "seed": seed,
                "mode": mode,
                "batch_cells": min(config.batch_cells, data.n_cells),
                "steps": steps,
                **scored(state.model, data, seed),
                "losses": whole_loss(state, data.inputs, config),
            }
        )
    return rows


def accuracy_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: a row a set, ARI by mode; then means over sets and what separates them from full batches."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    lines = []
    for spatial in (False, True):
        own = [row for row in rows if row["spatial"] is spatial]
        if not own:
            continue
        lines += ["", "Spatial sets:" if spatial else "Sets without coordinates:", ""]
        lines.append(f"| set | cells | batch | {' | '.join(f'{mode}: ARI' for mode in modes)} |")
        lines.append("|---" * (3 + len(modes)) + "|")
        for name in sorted({row["dataset"] for row in own}):
            of_set = [row for row in own if row["dataset"] == name]
            batch = min(row["batch_cells"] for row in of_set)
            told = []
            for mode in modes:
                found = [row["ari"] for row in of_set if row["mode"] == mode]
                told.append(f"{np.mean(found):.3f} ± {np.std(found):.3f}")
            lines.append(f"| {name} | {of_set[0]['n_cells']:,} | {batch:,} | {' | '.join(told)} |")
        for title, measure in (("ARI", "ari"), ("NMI", "nmi"), ("ACC", "acc")):
            told = [f"**{_mean(own, mode, measure):.3f}**" for mode in modes]
            lines.append(f"| **mean over sets, {title}** | | | {' | '.join(told)} |")
        told = [_difference(own, mode) for mode in modes]
        lines.append(
            f"| ARI beside full batches, ± standard error over sets | | | {' | '.join(told)} |"
        )
        told = [f"{_loss(own, mode):+.1%}" for mode in modes]
        lines.append(f"| exact loss beside full batches | | | {' | '.join(told)} |")
    return lines


def _mean(rows: list[dict[str, Any]], mode: str, measure: str) -> float:
    return float(np.mean(list(_by_set(rows, mode, measure).values())))


def _by_set(rows: list[dict[str, Any]], mode: str, measure: str) -> dict[str, float]:
    found = defaultdict(list)
    for row in rows:
        if row["mode"] == mode:
            found[row["dataset"]].append(row[measure])
    return {name: float(np.mean(values)) for name, values in found.items()}


def _difference(rows: list[dict[str, Any]], mode: str) -> str:
    full, own = _by_set(rows, "full", "ari"), _by_set(rows, mode, "ari")
    apart = np.array([own[name] - full[name] for name in full])
    error = apart.std(ddof=1) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
    return f"{apart.mean():+.3f} ± {error:.3f}"


def _loss(rows: list[dict[str, Any]], mode: str) -> float:
    full = {
        (row["dataset"], row["seed"]): sum(row["losses"].values())
        for row in rows
        if row["mode"] == "full"
    }
    return float(
        np.mean(
            [
                sum(row["losses"].values()) / full[row["dataset"], row["seed"]] - 1
                for row in rows
                if row["mode"] == mode
            ]
        )
    )


class Watch(Stop):
    """Looks as training does, never stops it, and scores what it sees against labels."""

    def __init__(self, data: Labelled, config: TrainConfig, seed: int, first: int) -> None:
        super().__init__(data.inputs, config, seed=seed)
        self._data, self._seed, self._first = data, seed, first
        self.ari: dict[int, float] = {}

    def look(self, model: ScRCL, looks: Looks, step: int) -> bool:
        """Look and score; say that training goes on."""
        super().look(model, looks, step)
        if step % self._every == 0 and step >= self._first:
            self.ari[step] = scored(model, self._data, self._seed)["ari"]
        return False

    def ended(self, looks: Looks) -> bool:
        """Say that training goes on."""
        del looks
        return False


def stopping(
    data: Labelled, seed: int, *, batch_cells: list[int], first: int, steps: int
) -> list[dict[str, Any]]:
    """ARI along training from step ``first`` on, and the step at which the rule would have stopped it."""
    rows = []
    for cells in batch_cells:
        config = TrainConfig(steps=steps, batch_cells=min(cells, -(-data.n_cells // 2)))
        if cells >= EVERY_CELL:
            config = TrainConfig(steps=steps, batch_cells=EVERY_CELL)
        watch = Watch(data, config, seed, first)
        state = trained(data.inputs, config, seed, stop=watch)
        kept = state.looks.kept
        stood = [
            int(kept[n - 1]["step"])
            for n in range(1, len(kept) + 1)
            if stands_still([look["kept"] for look in kept[:n]], config.patience)
        ]
        rows.append(
            {
                "dataset": data.name,
                "spatial": data.spatial,
                "seed": seed,
                "batch_cells": min(config.batch_cells, data.n_cells),
                "full": cells >= EVERY_CELL,
                "stopped_at": max(min(stood, default=steps), first),
                "ari": watch.ari,
                "kept": kept,
            }
        )
    return rows


def stopping_table(rows: list[dict[str, Any]], fixed: int) -> list[str]:
    """Markdown: a row a set; at the stop, after ``fixed`` steps, at the last step, and at the best under labels."""
    columns = ["set", "batches", "runs", "stopped after", "ARI there", f"after {fixed} steps"]
    columns += ["at the last step", "best step, by labels"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
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
            kind = "full" if full else f"{own[0]['batch_cells']:,}"
            told = [float(np.mean(values)) for values in found]
            means[own[0]["spatial"], full].append(told)
            lines.append(
                f"| {name} | {kind} | {len(own)} | {steps} | {' | '.join(f'{value:.3f}' for value in told)} |"
            )
    for (spatial, full), found in sorted(means.items()):
        title = f"mean, {'spatial' if spatial else 'no coordinates'}"
        told = np.mean(found, axis=0)
        kind = "full" if full else "mini"
        lines.append(
            f"| **{title}** | {kind} | | | {' | '.join(f'{value:.3f}' for value in told)} |"
        )
    return lines


def _aris(row: dict[str, Any]) -> dict[int, float]:
    return {int(step): value for step, value in row["ari"].items()}
