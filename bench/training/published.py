"""scRCL as published: its loss in linear time, and over all N x N pairs in float64, from the same weights.

``python -m bench.training.published --data DIR --sets SET,SET,SET``

Both train by themselves, each with its own gradients: the preset ``scrcl-paper`` as a run trains it, in float32, and a
copy of its first weights on the dense form of Eq. 3, 4 and 9 in float64. Dropout is off, as both would draw other
entries. ``--set`` changes the preset.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench._frame.arguments import add_data, add_settings, parsed, parser_of
from bench._frame.labelled import labelled_files
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench._frame.runs import config_of
from bench._frame.training import SCRCL, fresh, prepared, setup_of, train_until
from bench.training.dense import dense_terms
from scrcl.graph.csr import connectivities

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup

__all__ = ["main"]

PRESET = "scrcl-paper"
TERMS = ("hea_global", "hea_cell", "ndc", "cvc")

NOTES = """\
The loss of all cells at the first {steps} steps; the largest relative difference between both forms, of the sum and of
each term."""


def _both(path: Path, settings: list[str], n_steps: int) -> dict[str, Any]:
    """Return the losses of both forms, step by step."""
    config = config_of([f"train.epochs={n_steps}", *settings], preset=PRESET, device="cpu")
    inputs = prepared(path, config).inputs
    how = setup_of(config)
    state = fresh(inputs, how)
    model = deepcopy(state.learner.model).double()
    train_until(state, inputs, how.with_train(epochs=None), n_steps)
    linear = [[row[term] for term in TERMS] for row in state.history]
    dense = _trained_densely(model, inputs, how, n_steps)
    return {
        "set": path.stem,
        "n_cells": inputs.n_cells,
        "n_genes": inputs.x.shape[1],
        "linear": linear,
        "dense": dense,
    }


def _trained_densely(
    model: ScRCL, inputs: Inputs, how: Setup[ScrclSettings], n_steps: int
) -> list[list[float]]:
    x, ax, genes = (
        torch.from_numpy(np.array(rows, np.float64)) for rows in (inputs.x, inputs.ax, inputs.genes)
    )
    adjacency = torch.from_numpy(connectivities(inputs.graph).toarray()).double()
    optimizer = SCRCL.phases(how, inputs)[0].optimizer(model.parameters())
    model.train()
    found = []
    for _ in range(n_steps):
        terms = dense_terms(model, x, ax, genes, adjacency, how.settings)
        loss = torch.stack([terms[name] for name in TERMS]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append([terms[name].item() for name in TERMS])
    return found


def _differences(row: dict[str, Any]) -> dict[str, float]:
    """Return the largest relative difference over the steps, of the sum and of each term."""
    linear, dense = (np.array(row[name]) for name in ("linear", "dense"))
    sums = np.abs(linear.sum(1) / dense.sum(1) - 1)
    terms = np.abs(linear - dense) / np.maximum(np.abs(dense), 1e-12)
    return {"loss": float(sums.max()), **dict(zip(TERMS, map(float, terms.max(0)), strict=True))}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    return table(
        ["set", "cells", "genes", "loss at the first step", "at the last", "loss", *TERMS],
        [
            [
                row["set"],
                f"{row['n_cells']:,}",
                f"{row['n_genes']:,}",
                f"{sum(row['dense'][0]):.6f}",
                f"{sum(row['dense'][-1]):.6f}",
                *(f"{value:.1e}" for value in _differences(row).values()),
            ]
            for row in rows
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Compare both forms on each set, and write the page."""
    parser = parser_of("bench.training.published", __doc__)
    add_data(parser)
    add_settings(parser)
    parser.add_argument("--steps", type=int, default=20, help="full-batch steps")
    args = parsed(parser, arguments)
    files = labelled_files(args.data, args.sets)
    found = (_both(path, ["scrcl.dropout=0", *args.set], args.steps) for path in files)
    rows = logged(args.out, found)
    body = [*NOTES.format(steps=args.steps).splitlines(), "", *_table(rows)]
    write_results(args, "scRCL as published", body)
    print("\n".join(body))


if __name__ == "__main__":
    main()
