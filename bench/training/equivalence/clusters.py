"""Clusters and exact losses after equal steps, full-batch and by mini-batches."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import head, line
from bench._frame.training import setup, trained
from bench.training.equivalence.runs import batches_of, scored, whole_loss

if TYPE_CHECKING:
    from bench.training.equivalence.runs import TrainingSet

__all__ = ["accuracy", "accuracy_table"]


def accuracy(
    data: TrainingSet, seed: int, *, minibatch_cells: int, steps: int, modes: list[str]
) -> list[dict[str, Any]]:
    """Return scores and exact loss after ``steps`` steps, full-batch and for each estimator of the means."""
    rows = []
    for mode in ["full", *modes]:
        how = setup(seed, steps=steps, **batches_of(mode, data, minibatch_cells))
        learner = trained(data.inputs, how).learner
        rows.append(
            {
                "dataset": data.name,
                "spatial": data.spatial,
                "n_cells": data.n_cells,
                "seed": seed,
                "mode": mode,
                "minibatch_cells": min(how.train.minibatch_cells, data.n_cells),
                "steps": steps,
                **scored(learner, data, seed),
                "losses": whole_loss(learner, data.inputs, how),
            }
        )
    return rows


def accuracy_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return tables of ARI by set and mode, then means over sets and their difference from full batches."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    lines = []
    for spatial in (False, True):
        own = [row for row in rows if row["spatial"] is spatial]
        if not own:
            continue
        lines += ["", "Spatial sets:" if spatial else "Sets without coordinates:", ""]
        lines += head("set", "cells", "mini-batch", *(f"{mode}: ARI" for mode in modes))
        for name in sorted({row["dataset"] for row in own}):
            of_set = [row for row in own if row["dataset"] == name]
            batch = min(row["minibatch_cells"] for row in of_set)
            cells = []
            for mode in modes:
                found = [row["ari"] for row in of_set if row["mode"] == mode]
                cells.append(f"{np.mean(found):.3f} ± {np.std(found):.3f}")
            lines += line(name, f"{of_set[0]['n_cells']:,}", f"{batch:,}", *cells)
        for title, measure in (("ARI", "ari"), ("NMI", "nmi"), ("ACC", "acc")):
            means = [f"**{_mean(own, mode, measure):.3f}**" for mode in modes]
            lines += line(f"**mean over sets, {title}**", "", "", *means)
        apart = [_difference(own, mode) for mode in modes]
        lines += line("ARI minus full batches, ± standard error over sets", "", "", *apart)
        losses = [f"{_loss(own, mode):+.1%}" for mode in modes]
        lines += line("exact loss over full batches", "", "", *losses)
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
