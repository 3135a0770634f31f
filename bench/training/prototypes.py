"""Where scGPCL takes its prototypes from, and how often: agreement with labels, and the cost.

``python -m bench.training.prototypes --data DIR --sets SET,SET --seeds 0,1 --ways minibatch,20,1``

A way is ``minibatch``, prototypes of each mini-batch, or a number of steps between updates from a subset of cells. Each
set is prepared once for each seed. Then scGPCL is trained each way, to the last step, and its embedding is clustered by
k-means with the number of classes. Labels score; nothing else reads them.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table
from bench.training.by_set import write_by_set
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.evaluate import score
from scrcl.engine.learning import method_of, setup_of
from scrcl.train.loop import train
from scrcl.train.ranks import Ranks
from scrcl.train.setup import Work
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench._frame.labelled import Labelled
    from bench._frame.rows import Row
    from scrcl import RunConfig
    from scrcl.train.setup import Setup

__all__ = ["main", "trained"]

MINIBATCH = "minibatch"

NOTES = """\
ARI of k-means on the embedding at the number of classes, mean ± standard deviation over seeds {seeds}: with prototypes
of each mini-batch, or of a subset that are updated after so many steps. Then the processor time of training, as a
multiple of that of the first column. {settings}"""


def _of_set(data: Labelled, seed: int, args: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for each way."""
    config = runs.config_of(
        [*args.set, "train.stop=never"], method="scgpcl", seed=seed, device="cpu"
    )
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(data.path, out, config, until="inputs")
        labels, inputs = data.labels[runs.retained(out)], runs.training_inputs(out)
        for way in args.ways:
            began = time.process_time()
            how = setup_of(config, device="cpu", ranks=Ranks.alone())
            some = how.settings.model_copy(update=_changes(way))
            points, _ = trained(inputs, config, replace(how, settings=some), Path(folder))
            seconds = time.process_time() - began
            found = cluster(points, data.k, settings=ClusterSettings(algorithm="kmeans"), seed=seed)
            scores = score(found, labels)
            yield {
                "set": data.name,
                "n_cells": len(labels),
                "k": data.k,
                "seed": seed,
                "way": way,
                "cpu_s": seconds,
                **{name: scores[name] for name in ("acc", "nmi", "ari")},
                **stamp(),
            }


def _changes(way: str) -> dict[str, Any]:
    """Return the settings that differ from the defaults."""
    if way == MINIBATCH:
        return {"prototypes": MINIBATCH}
    return {"prototypes": "subset", "refresh_every": int(way)}


def trained(inputs: Any, config: RunConfig, how: Setup[Any], folder: Path) -> tuple[Any, int]:
    """Return the embedding of all cells after training as ``how`` says, and the steps that were taken."""
    method = method_of(config)
    state = TrainState.fresh(method, inputs, how)
    train(method, inputs, state, how)
    (space,) = method.embed(state.learner, inputs, folder, Work(), space="embedding").spaces
    return np.load(folder / f"{space}.npy"), state.step


def _table(rows: list[Row]) -> list[str]:
    ways = list(dict.fromkeys(row["way"] for row in rows))
    by_set: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_set[row["set"]][row["way"]].append(row)
    names = [way if way == MINIBATCH else f"subset, every {way}" for way in ways]
    columns = [f"ARI, {name}" for name in names] + [f"time, {name}" for name in names[1:]]
    lines, means = [], []
    for name, found in by_set.items():
        ari = [np.array([row["ari"] for row in found[n]]) for n in ways]
        time_s = [float(np.sum([row["cpu_s"] for row in found[n]])) for n in ways]
        ratios = [each / time_s[0] for each in time_s[1:]]
        means.append([*(float(each.mean()) for each in ari), *ratios])
        cells = found[ways[0]][0]["n_cells"]
        shown = [f"{each.mean():.3f} ± {each.std():.3f}" for each in ari]
        lines.append([name, f"{cells:,}", *shown, *(f"{each:.2f}" for each in ratios)])
    whole = np.mean(means, axis=0)
    n = len(ways)
    shown = [f"**{each:.3f}**" for each in whole[:n]] + [f"{each:.2f}" for each in whole[n:]]
    return table(["set", "cells", *columns], [*lines, ["**mean**", "", *shown]])


def main(arguments: list[str] | None = None) -> None:
    """Train on each set and write the page."""
    parser = parser_of("bench.training.prototypes", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument(
        "--ways",
        type=lambda text: text.split(","),
        default=[MINIBATCH, "20", "1"],
        help="minibatch, or steps between updates from a subset, as minibatch,20,1",
    )
    args = parsed(parser, arguments)
    write_by_set(args, "Prototypes", NOTES, _of_set, _table)


if __name__ == "__main__":
    main()
