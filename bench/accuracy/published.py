"""The presets of the papers on labelled sets: the final state, the best state by labels, and the published figures.

``python -m bench.accuracy.published --data DIR --sets worm,pbmc4k``

A set is trained once, with ``--preset``, its number of types, and what its file in ``examples/paper`` sets, if it has
one. The embedding is clustered as the preset says, at each stability check, or every ``--score-every`` steps, and at
the end. The final state is the honest result. Its nearest centres of fine-tuning, which the authors score, have a
column. The best state, which labels chose, is there to compare with tables that were made like that.
``{k}`` in a setting stands for the number of types.
"""

from __future__ import annotations

import tempfile
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.accuracy.cases import measured
from bench.accuracy.oracle import clusters_of, train_watched
from bench.accuracy.tables import PUBLISHED
from scrcl.engine.load_config import load_config
from scrcl.train.methods import PRESETS

if TYPE_CHECKING:
    import argparse

    from bench._frame.labelled import Labelled
    from bench._frame.rows import Row
    from scrcl import RunConfig
    from scrcl.train.method import Learner
    from scrcl.typing import IntArray

__all__ = ["main"]

AIMS = {"scgpcl": "scgpcl.n_clusters={k}", "scrcl": "scrcl.refined_dim={k}"}
"""The setting of each method that is the number of types in the papers."""

SCORES = ("nmi", "acc", "ari")

MINUTES = {"human-kidney": 40.02, "mouse-bladder": 18.91, "pbmc-4k": 20.01, "worm-neuron": 26.89}
"""Published minutes of scGPCL's pre-training, on an unknown machine, by the names of sets in ``examples/paper``."""

_BEGINNINGS = {
    "human_kidney": "human-kidney",
    "mouse_bladder": "mouse-bladder",
    "pbmc4k": "pbmc-4k",
    "worm": "worm-neuron",
}
"""These names, by how the names of the files begin."""

_EXAMPLES_FOLDER = Path(__file__).parents[2] / "examples" / "paper"

_LAST_PHASE = "fine-tuning"
"""What comes after pre-training."""


def _example(name: str) -> str:
    """Return the name that a set has in ``examples/paper``; its own if it is not there."""
    return next((known for begin, known in _BEGINNINGS.items() if name.startswith(begin)), name)


def _config(data: Labelled, seed: int, args: argparse.Namespace) -> RunConfig:
    method, example = str(PRESETS[args.preset]["method"]), _example(data.name)
    file = _EXAMPLES_FOLDER / f"{method}-{example}.toml"
    given = [one.replace("{k}", str(data.k)) for one in (AIMS[method], *args.set)]
    fields = {"preset": args.preset, "n_clusters": data.k, "seed": seed, "device": "cpu"}
    return load_config(file if file.is_file() else None, settings=given, overrides=fields)


def _row(data: Labelled, seed: int, args: argparse.Namespace) -> Row:
    config = _config(data, seed, args)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(data.path, out, config, until="inputs")
        inputs, labels = runs.training_inputs(out), data.labels[runs.retained(out)]
        n_genes = len(runs.selected_genes(out))
        scores = np.array(runs.components(out))
        states: list[dict[str, Any]] = []
        phases: dict[str, dict[str, float]] = {}
        began, scoring = time.process_time(), 0.0

        def see(step: int, learner: Learner) -> None:
            nonlocal scoring
            before = time.process_time()
            found = clusters_of(learner, inputs, config, scores, Path(folder))
            states.append({"step": step, **measured(found, labels)})
            tuned = _tuned_clusters(learner, Path(folder) / f"{config.clustered_on}.npy")
            if tuned is not None:
                states[-1]["tuned"] = measured(tuned, labels)
            print(data.name, step, states[-1]["ari"], flush=True)
            scoring += time.process_time() - before

        def begins(phase: str, step: int) -> None:
            phases[phase] = {"step": step, "cpu_s": time.process_time() - began - scoring}

        train_watched(config, inputs, see, as_run=True, every=args.score_every, on_phase=begins)
        seconds = time.process_time() - began - scoring
    best = max(states, key=lambda state: state["ari"])
    return {
        **stamp(),
        "set": data.name,
        "n_cells": len(labels),
        "n_genes": n_genes,
        "k": data.k,
        "seed": seed,
        "preset": args.preset,
        "lr": config.train.lr,
        "states": states,
        "final": states[-1],
        "best": best,
        "phases": phases,
        "cpu_s": seconds,
    }


def _tuned_clusters(learner: Learner, embedding: Path) -> IntArray | None:
    """Return the nearest centre of fine-tuning of each cell, shape (n_cells,); None before it, or without it."""
    weights = learner.state_dict()
    if not weights.get("is_tuned", 0):
        return None
    centres = weights["centres"].numpy()
    found: IntArray = cdist(np.load(embedding), centres).argmin(axis=1)
    return found


def _table(rows: list[Row], preset: str) -> list[str]:
    body = []
    for row in rows:
        minutes = MINUTES.get(_example(row["set"])) if preset == "scgpcl-paper" else None
        tuning = row.get("phases", {}).get(_LAST_PHASE)
        body.append(
            [
                row["set"],
                f"{row['n_cells']:,}",
                f"{row['n_genes']:,}",
                row["k"],
                f"{row['lr']:.0e}",
                row["seed"],
                *(_figures(_scores(row[at])) for at in ("final", "best")),
                f"{row['best']['step']} of {row['final']['step']}",
                _figures(_scores(row["final"]["tuned"])) if "tuned" in row["final"] else "",
                f"{row['cpu_s'] / 60:.1f}",
                "" if tuning is None else f"{tuning['cpu_s'] / 60:.1f} ({tuning['step']})",
                "" if minutes is None else f"{minutes:.1f}",
            ]
        )
    return table(
        ["set: NMI / ACC / ARI", "cells", "genes", "K", "lr", "seed", "final state", "best state by labels",
         "its step", "final state, centres of fine-tuning", "training, CPU min",
         "pre-training, CPU min (steps)", "published, min"],
        body,
    )  # fmt: skip


def _means(rows: list[Row], preset: str) -> list[str]:
    """Return the table of final states, means over seeds, next to the published figures."""
    body = []
    for name, lr in dict.fromkeys((row["set"], row["lr"]) for row in rows):
        own = [row["final"] for row in rows if (row["set"], row["lr"]) == (name, lr)]
        found = np.array([_scores(state) for state in own])
        acc, nmi, ari = PUBLISHED.get(name, (None, None, None))
        shown, less = "", ""
        if preset == "scgpcl-paper" and None not in (acc, nmi, ari):
            published = np.array([nmi, acc, ari])
            shown, less = _figures(published), _figures(found.mean(axis=0) - published, "+.3f")
        body.append(
            [
                name,
                f"{lr:.0e}",
                len(own),
                _figures(found.mean(axis=0)),
                _figures(found.std(axis=0)),
                shown,
                less,
            ]
        )
    return table(
        [
            "set: NMI / ACC / ARI",
            "lr",
            "seeds",
            "final state, mean",
            "deviation",
            "published",
            "difference",
        ],
        body,
    )


def _scores(state: Row) -> list[float]:
    return [state[name] for name in SCORES]


def _figures(values: Any, form: str = ".3f") -> str:
    return " / ".join(format(value, form) for value in values)


def main(arguments: list[str] | None = None) -> None:
    """Train each set with the preset, and write the table and its rows."""
    parser = parser_of("bench.accuracy.published", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--preset", choices=list(PRESETS), default="scgpcl-paper")
    parser.add_argument("--score-every", type=int, help="steps between states that are scored")
    args = parsed(parser, arguments)
    cases = product(labelled_files(args.data, args.sets, spatial=False), args.seeds)
    rows = logged(args.out, (_row(read_labelled(path), seed, args) for path, seed in cases))
    ran = f"Preset {args.preset}" + (f", changed by {', '.join(args.set)}." if args.set else ".")
    body = [ran, "", *_means(rows, args.preset), "", *_table(rows, args.preset)]
    write_results(args, "As published", body)


if __name__ == "__main__":
    main()
