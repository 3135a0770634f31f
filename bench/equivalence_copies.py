"""One atlas drawn at several sizes and trained with the same settings: what must not change with size."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.equivalence_runs import labelled, scored, trained, whole_loss
from scrcl.train.config import TrainConfig
from scrcl.train.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["copies", "copies_table"]

TERMS = ("hea_global", "hea_cell", "ndc", "cvc")


def copies(
    source: Path, *, cells: int, sizes: list[int], batch_cells: int, steps: int, seeds: list[int],
    work: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Draw ``cells`` times each of ``sizes`` cells by the types of ``source``, and train on each."""
    rows = []
    for size in sizes:
        path = work / f"{source.stem}-{cells * size}.zarr"
        if not path.exists():
            command = ["simulate", "-o", path, "--cells", cells * size, "--from", source, "--quiet"]
            subprocess.run([sys.executable, "-m", "scrcl", *map(str, command)], check=True)
        data = labelled(path)
        for seed in seeds:
            config = TrainConfig(steps=steps, batch_cells=batch_cells)
            # More patience than looks: it looks, and never stops.
            eyes = config.model_copy(update={"patience": steps + 1})
            stop = Stop(data.inputs, eyes, seed=seed)
            state = trained(data.inputs, config, seed, stop=stop)
            rows.append(
                {
                    "n_cells": data.n_cells,
                    "seed": seed,
                    "batch_cells": batch_cells,
                    **scored(state.model, data, seed),
                    "losses": whole_loss(state, data.inputs, config),
                    "kept": state.looks.kept,
                }
            )
    return rows


def copies_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: a row a size; scores, the exact loss terms at the end, and the share of neighbours kept."""
    head = ["cells", "ACC", "NMI", "ARI", *TERMS, "neighbours kept at the last look"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for size in sorted({row["n_cells"] for row in rows}):
        own = [row for row in rows if row["n_cells"] == size]
        told = [float(np.mean([row[name] for row in own])) for name in ("acc", "nmi", "ari")]
        told += [float(np.mean([row["losses"][name] for row in own])) for name in TERMS]
        told.append(float(np.mean([row["kept"][-1]["kept"] for row in own if row["kept"]])))
        lines.append(f"| {size:,} | {' | '.join(f'{value:.4g}' for value in told)} |")
    return lines
