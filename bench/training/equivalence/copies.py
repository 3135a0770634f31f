"""One atlas drawn at several sizes and trained with the same settings: results should not depend on size."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame.page import table
from bench._frame.process import scrcl_command
from bench._frame.training import setup, trained
from bench.training.equivalence.runs import scored, training_set, whole_loss

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Atlas", "copies", "copies_table"]

TERMS = ("hea_global", "hea_cell", "ndc", "cvc")


class Atlas(NamedTuple):
    """An atlas to draw at several sizes."""

    source: Path
    """A labelled file: cells are drawn by its types"""
    n_cells: int
    sizes: list[int]
    """Multiples of ``n_cells``"""
    folder: Path
    """Keeps what is drawn"""


def copies(
    atlas: Atlas, *, minibatch_cells: int, steps: int, seeds: list[int]
) -> list[dict[str, Any]]:
    """Draw the atlas at each size, and train on it."""
    rows = []
    for size in atlas.sizes:
        n_cells = atlas.n_cells * size
        path = atlas.folder / f"{atlas.source.stem}-{n_cells}.zarr"
        if not path.exists():
            command = scrcl_command(
                "simulate", "-o", path, "--cells", n_cells, "--from", atlas.source, "--quiet"
            )
            subprocess.run(command, check=True)
        data = training_set(path)
        for seed in seeds:
            # More patience than steps: stability is checked, and training never stops.
            how = setup(
                seed,
                steps=steps,
                minibatch_cells=minibatch_cells,
                stop="auto",
                patience=steps + 1,
            )
            state = trained(data.inputs, how)
            rows.append(
                {
                    "n_cells": data.n_cells,
                    "seed": seed,
                    "minibatch_cells": minibatch_cells,
                    **scored(state.learner, data, seed),
                    "losses": whole_loss(state.learner, data.inputs, how),
                    "kept": state.checks.kept,
                }
            )
    return rows


def copies_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each size: scores, exact loss terms at the end, share of neighbours kept."""
    columns = ["cells", "ACC", "NMI", "ARI", *TERMS, "neighbours kept at the last check"]
    lines = []
    for size in sorted({row["n_cells"] for row in rows}):
        own = [row for row in rows if row["n_cells"] == size]
        means = [float(np.mean([row[name] for row in own])) for name in ("acc", "nmi", "ari")]
        means += [float(np.mean([row["losses"][name] for row in own])) for name in TERMS]
        means.append(float(np.mean([row["kept"][-1]["kept"] for row in own if row["kept"]])))
        lines.append([f"{size:,}", *(f"{value:.4g}" for value in means)])
    return table(columns, lines)
