"""The effect of joining pieces of near cells on the means that a mini-batch's losses use.

The weights are fixed: 50 steps of training, then embeddings of all cells, and every mini-batch selects some of them.
So only the composition differs; running means do not lag behind the weights.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench._frame.page import head, line
from bench._frame.training import SCRCL, changed, trained
from scrcl._random import stream
from scrcl.graph.sample import sample_halo
from scrcl.train.epoch import epochs_of
from scrcl.train.methods.scrcl.blocks import Anchors
from scrcl.train.methods.scrcl.loss import Edges, Others, Population, losses, population, softened
from scrcl.train.methods.scrcl.model import Views
from scrcl.train.methods.scrcl.moments import Moments
from scrcl.train.pairs import pattern_of

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.graph.sample import Halo
    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup
    from scrcl.typing import FloatArray

__all__ = ["Study", "composition", "composition_table"]

TERMS = ("ndc", "cvc")
NAMES = {"target": "mean target", "gram": "Gram", "ndc": "L_NDC", "cvc": "L_CVC"}
MEANS = ("own", "running", "sampled")
"""Of the mini-batch, of the last mini-batches, or of other cells drawn from the whole atlas."""
N_DRAWN = 4_096
PARTS = tuple(field.name for field in fields(Population))
FIRST_EPOCH = 1_000
"""Epochs of the study begin here; steps before it fill the running means."""
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Study:
    """The embeddings of all cells, and the means over them."""

    inputs: Inputs
    how: Setup[ScrclSettings]
    views: Views
    truth: Population

    @classmethod
    def after_training(cls, inputs: Inputs, how: Setup[ScrclSettings]) -> Study:
        """Train on uniform mini-batches, then embed every cell with all its neighbours."""
        model = trained(inputs, how).learner.model
        whole = SCRCL.batches(inputs, changed(how, minibatch_cells=inputs.n_cells)).batch(0)
        with torch.no_grad():
            views = model(whole.cells, model.association(whole.genes))
        keys, targets = softened(views, how.settings.temperature)
        return cls(inputs, how, views, population(keys, targets, views.zg_bc))

    def halo(self, seeds: Any) -> Halo:
        """Return the seeds' neighbours, all of them."""
        return sample_halo(self.inputs.graph, seeds, fanout=None, rng=stream(0, "bench"))

    def drawn(self, step: int) -> Population:
        """Return the means over cells that are drawn uniformly for a step."""
        n_cells, view = self.inputs.graph.n, self.views
        rng = stream(0, "bench.drawn", step)
        cells = torch.from_numpy(rng.choice(n_cells, min(N_DRAWN, n_cells), replace=False))
        few = _of(view, cells, cells)
        return population(*softened(few, self.how.settings.temperature), few.zg_bc)

    def batch(self, halo: Halo) -> tuple[Views, Edges]:
        """Return the embeddings of a mini-batch as training makes them, and its pairs."""
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
    study: Study, *, minibatch_cells: int, piece_cells: int, n_batches: int, skipped: int
) -> dict[str, Any]:
    """Return halos, means and loss terms of mini-batches of one composition.

    Parameters
    ----------
    study
        Embeddings.
    minibatch_cells, piece_cells
        Sizes; pieces of one cell make uniform mini-batches.
    n_batches
        Least number of mini-batches studied; whole epochs are taken.
    skipped
        Mini-batches before them, which only fill the running means.
    """
    train = changed(
        study.how,
        minibatch_cells=minibatch_cells,
        minibatches="uniform" if piece_cells == 1 else "partitions",
        piece_cells=min(piece_cells, minibatch_cells),
    ).train
    settings = study.how.settings
    epochs = epochs_of(train, study.inputs.n_cells, seed=0)
    moments = Moments(settings.moments_decay)
    in_all = -(-n_batches // epochs.n_batches) * epochs.n_batches
    halo_rows: list[float] = []
    found: dict[str, list[FloatArray]] = defaultdict(list)
    terms: dict[str, list[float]] = defaultdict(list)
    with torch.no_grad():
        for step in range(-skipped, in_all):
            halo = study.halo(epochs.seeds(step + FIRST_EPOCH * epochs.n_batches))
            views, edges = study.batch(halo)
            keys, targets = softened(views, settings.temperature)
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
                    found[f"{kind} {part}"].append(_flat(getattr(means.whole, part)))
                values = losses(views, keys, targets, edges, means, settings)
                for term in TERMS:
                    terms[f"{kind} {term}"].append(float(values[term]))
    return {
        "minibatch_cells": minibatch_cells,
        "piece_cells": piece_cells,
        "n_batches": in_all,
        "halo_rows_per_seed": float(np.mean(halo_rows)),
        "means": {
            name: _bias_and_spread(np.array(values), _flat(getattr(study.truth, name.split()[1])))
            for name, values in found.items()
            if not name.startswith("true")
        },
        "terms": _term_errors({name: np.array(values) for name, values in terms.items()}),
    }


def _flat(means: Tensor) -> FloatArray:
    return means.numpy().astype(np.float64).reshape(-1)


def _bias_and_spread(found: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Return the length of the mean error, and of errors around it, both over the length of the truth."""
    length = float(np.linalg.norm(truth))
    mean = found.mean(axis=0)
    around = np.sqrt(np.square(found - mean).sum(axis=1).mean())
    return {
        "bias": float(np.linalg.norm(mean - truth)) / length,
        "spread": float(around) / length,
    }


def _term_errors(terms: dict[str, FloatArray]) -> dict[str, dict[str, float]]:
    """Return the error of each term, against the same mini-batch with the means over all cells."""
    errors = {}
    for term in TERMS:
        true = terms[f"true {term}"]
        for kind in MEANS:
            off = (terms[f"{kind} {term}"] - true) / true.mean()
            errors[f"{kind} {term}"] = {"bias": float(off.mean()), "spread": float(off.std())}
        errors[f"batches {term}"] = {"bias": 0.0, "spread": float(true.std() / true.mean())}
    return errors


def composition_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return tables of the rows of `composition`."""
    groups = [(("target", "gram"), "means"), (TERMS, "terms")]
    lines: list[str] = []
    for names, group in groups:
        columns = [f"{NAMES[name]}: {kind}" for name in names for kind in MEANS]
        more = "halo rows per seed" if group == "means" else "L_NDC, L_CVC between mini-batches"
        lines += ["", *head("mini-batch", "pieces of", *columns, more)]
        for row in rows:
            piece = "uniform" if row["piece_cells"] == 1 else f"{row['piece_cells']:,}"
            errors = [_percent(row[group][f"{kind} {name}"]) for name in names for kind in MEANS]
            last = f"{row['halo_rows_per_seed']:.2f}"
            if group == "terms":
                spreads = (row["terms"][f"batches {term}"]["spread"] for term in TERMS)
                last = ", ".join(f"{100 * spread:.1f}" for spread in spreads)
            lines += line(f"{row['minibatch_cells']:,}", piece, *errors, last)
    return lines


def _percent(found: dict[str, float]) -> str:
    return f"{100 * found['bias']:.1f} ± {100 * found['spread']:.1f}"
