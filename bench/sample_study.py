"""What joining pieces of near cells does to the means that a batch's losses use.

The weights stand still: 50 steps of training, then embeddings of all cells, of which every batch is a
selection. So what is seen is the composition alone, without the lag of running means behind weights.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scrcl._random import stream
from scrcl.graph.sample import sample_halo
from scrcl.train.epoch import epochs_of
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.blocks import Anchors
from scrcl.train.methods.scrcl.loss import Edges, Others, Population, losses, population, softened
from scrcl.train.methods.scrcl.minibatch import BatchSource, Inputs
from scrcl.train.methods.scrcl.model import Views
from scrcl.train.methods.scrcl.moments import Moments
from scrcl.train.pairs import pattern_of
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.graph.sample import Halo
    from scrcl.train.config import TrainConfig
    from scrcl.typing import FloatArray

__all__ = ["Study", "composition", "composition_table"]

TERMS = ("ndc", "cvc")
NAMES = {"target": "mean target", "gram": "Gram", "ndc": "L_NDC", "cvc": "L_CVC"}
MEANS = ("own", "running", "sampled")
"""Of the batch, of the last batches, or of cells drawn from the whole atlas beside the batch."""
N_DRAWN = 4_096
PARTS = tuple(field.name for field in fields(Population))
FIRST_EPOCH = 1_000
"""Steps before it fill the running means."""
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Study:
    """The embeddings of all cells, and the means over them."""

    inputs: Inputs
    config: TrainConfig
    views: Views
    truth: Population

    @classmethod
    def after_training(cls, inputs: Inputs, config: TrainConfig) -> Study:
        """Train on uniform batches, then embed every cell with its whole neighbourhood."""
        state = TrainState.fresh(inputs, config, seed=0)
        train(state, BatchSource(inputs, config, seed=0), config)
        everyone = config.model_copy(update={"batch_cells": inputs.graph.n})
        whole = BatchSource(inputs, everyone, seed=0).batch(0)
        with torch.no_grad():
            views = state.model(whole.cells, state.model.association(whole.genes))
        keys, targets = softened(views, config.temperature)
        return cls(inputs, config, views, population(keys, targets, views.zg_bc))

    def halo(self, seeds: Any) -> Halo:
        """Return the seeds' neighbours, all of them."""
        return sample_halo(self.inputs.graph, seeds, fanout=None, rng=stream(0, "bench"))

    def drawn(self, step: int) -> Population:
        """Return the means over cells drawn uniformly for a step."""
        n_cells, view = self.inputs.graph.n, self.views
        rng = stream(0, "bench.drawn", step)
        cells = torch.from_numpy(rng.choice(n_cells, min(N_DRAWN, n_cells), replace=False))
        few = _of(view, cells, cells)
        return population(*softened(few, self.config.temperature), few.zg_bc)

    def batch(self, halo: Halo) -> tuple[Views, Edges]:
        """Return the embeddings that training would have made of a batch, and its pairs."""
        nodes = torch.from_numpy(halo.nodes)
        seeds = nodes[: halo.n_seeds]
        view = self.views
        pattern = pattern_of(halo.indptr, halo.indices, n_columns=len(nodes), device=CPU)
        degrees = torch.from_numpy(self.inputs.graph.degrees[halo.nodes].astype(np.float32))
        edges = Edges(pattern, None, degrees, self.inputs.graph.n)
        return _of(view, seeds, nodes), edges


def _of(view: Views, seeds: Tensor, nodes: Tensor) -> Views:
    """Return the views of some of all cells."""
    anchors = Anchors.of(view.em_bd[nodes], view.zm_bc[nodes])
    return Views(
        view.em_bd[seeds], view.eg_bd[seeds], view.zm_bc[seeds], view.zg_bc[seeds], anchors
    )


def composition(
    study: Study, *, batch_cells: int, piece_cells: int, n_batches: int, skipped: int
) -> dict[str, Any]:
    """Halos, means and loss terms of batches of one composition.

    Parameters
    ----------
    study
        Embeddings.
    batch_cells, piece_cells
        Sizes; pieces of one cell are uniform batches.
    n_batches
        Batches looked at: whole epochs of them, at least so many.
    skipped
        Batches before them, which only fill the running means.
    """
    changes = {
        "batch_cells": batch_cells,
        "batches": "uniform" if piece_cells == 1 else "partitions",
        "piece_cells": min(piece_cells, batch_cells),
    }
    config = study.config.model_copy(update=changes)
    inputs = study.inputs
    epochs = epochs_of(config, inputs.graph.n, seed=0)
    moments = Moments(config.moments_decay)
    in_all = -(-n_batches // epochs.n_batches) * epochs.n_batches
    halo_rows: list[float] = []
    seen: dict[str, list[FloatArray]] = defaultdict(list)
    terms: dict[str, list[float]] = defaultdict(list)
    with torch.no_grad():
        for step in range(-skipped, in_all):
            halo = study.halo(epochs.seeds(step + FIRST_EPOCH * epochs.n_batches))
            views, edges = study.batch(halo)
            keys, targets = softened(views, config.temperature)
            own = population(keys, targets, views.zg_bc)
            running = moments.observe(own)
            if step < 0:
                continue
            halo_rows.append(len(halo.nodes) / halo.n_seeds - 1)
            others = {
                "true": Others(study.truth, None),
                "own": Others(own, own),
                "running": running,
                "sampled": Others(study.drawn(step), None),
            }
            for kind, means in others.items():
                for part in PARTS:
                    seen[f"{kind} {part}"].append(_flat(getattr(means.whole, part)))
                values = losses(views, keys, targets, edges, means, config)
                for term in TERMS:
                    terms[f"{kind} {term}"].append(float(values[term]))
    return {
        "batch_cells": batch_cells,
        "piece_cells": piece_cells,
        "n_batches": in_all,
        "halo_rows_per_seed": float(np.mean(halo_rows)),
        "means": {
            name: _bias_and_spread(np.array(values), _flat(getattr(study.truth, name.split()[1])))
            for name, values in seen.items()
            if not name.startswith("true")
        },
        "terms": _term_errors({name: np.array(values) for name, values in terms.items()}),
    }


def _flat(means: Tensor) -> FloatArray:
    return means.numpy().astype(np.float64).reshape(-1)


def _bias_and_spread(found: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Length of the mean error, and of an error around it, both over that of the truth."""
    length = float(np.linalg.norm(truth))
    mean = found.mean(axis=0)
    around = np.sqrt(np.square(found - mean).sum(axis=1).mean())
    return {
        "bias": float(np.linalg.norm(mean - truth)) / length,
        "spread": float(around) / length,
    }


def _term_errors(terms: dict[str, FloatArray]) -> dict[str, dict[str, float]]:
    """Each term with a batch's means against the same batch's with the means over all cells."""
    errors = {}
    for term in TERMS:
        true = terms[f"true {term}"]
        for kind in MEANS:
            off = (terms[f"{kind} {term}"] - true) / true.mean()
            errors[f"{kind} {term}"] = {"bias": float(off.mean()), "spread": float(off.std())}
        errors[f"batches {term}"] = {"bias": 0.0, "spread": float(true.std() / true.mean())}
    return errors


def composition_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown of `composition`'s records."""
    groups = [(("target", "gram"), "means"), (TERMS, "terms")]
    lines: list[str] = []
    for names, what in groups:
        told = [f"{NAMES[name]}: {kind}" for name in names for kind in MEANS]
        more = ["halo rows a seed"] if what == "means" else ["L_NDC, L_CVC from batch to batch"]
        lines += ["", "| batch | pieces of | " + " | ".join([*told, *more]) + " |"]
        lines.append("|---" * (3 + len(told)) + "|")
        for row in rows:
            piece = "uniform" if row["piece_cells"] == 1 else f"{row['piece_cells']:,}"
            errors = [_percent(row[what][f"{kind} {name}"]) for name in names for kind in MEANS]
            last = f"{row['halo_rows_per_seed']:.2f}"
            if what == "terms":
                spreads = (row["terms"][f"batches {term}"]["spread"] for term in TERMS)
                last = ", ".join(f"{100 * spread:.1f}" for spread in spreads)
            lines.append(f"| {row['batch_cells']:,} | {piece} | {' | '.join(errors)} | {last} |")
    return lines


def _percent(found: dict[str, float]) -> str:
    return f"{100 * found['bias']:.1f} ± {100 * found['spread']:.1f}"
