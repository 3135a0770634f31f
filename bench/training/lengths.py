"""How many steps scGPCL needs: agreement with labels, and processor time.

``python -m bench.training.lengths --data DIR --sets SET,SET --steps 300,150``

Each set is prepared once for each seed. Then scGPCL is trained as a run trains it, once for each largest number of
steps, and its embedding is clustered by k-means with the number of classes: as it is, and brought to one length
(directions). Labels score; nothing else reads them.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, numbers, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table
from bench.training.by_set import write_by_set
from bench.training.prototypes import trained
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.evaluate import score
from scrcl.engine.learning import setup_of
from scrcl.graph.kmeans_passes import unit
from scrcl.train.ranks import Ranks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench._frame.labelled import Labelled
    from bench._frame.rows import Row

__all__ = ["main"]

NOTES = """\
By the largest number of steps: ARI of k-means on the embedding as it is / on its directions, at the number of classes,
means over seeds {seeds}; steps that were taken; processor seconds of training. {settings}"""


def _of_set(data: Labelled, seed: int, args: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for each largest number of steps."""
    config = runs.config_of(args.set, method="scgpcl", seed=seed, device="cpu")
    kmeans = ClusterSettings(algorithm="kmeans")
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(data.path, out, config, until="inputs")
        labels, inputs = data.labels[runs.retained(out)], runs.training_inputs(out)
        for steps in args.steps:
            how = setup_of(config, device="cpu", ranks=Ranks.alone()).with_train(steps=steps)
            began = time.process_time()
            points, taken = trained(inputs, config, how, Path(folder))
            row: Row = {"set": data.name, "n_cells": len(labels), "k": data.k, "seed": seed}
            row |= {"steps": steps, "taken": taken, "cpu_s": time.process_time() - began}
            for name, rows in (("ari", points), ("ari_directions", unit(points))):
                found = cluster(rows, data.k, settings=kmeans, seed=seed)
                row[name] = score(found, labels)["ari"]
            yield {**row, **stamp()}


def _table(rows: list[Row]) -> list[str]:
    steps = list(dict.fromkeys(row["steps"] for row in rows))
    sets = list(dict.fromkeys(row["set"] for row in rows))

    def mean(name: str, n: int, one: str | None = None) -> float:
        own = [row[name] for row in rows if row["steps"] == n and one in (None, row["set"])]
        return float(np.mean(own))

    def line(one: str | None) -> list[Any]:
        return [
            *(f"{mean('ari', n, one):.3f} / {mean('ari_directions', n, one):.3f}" for n in steps),
            *(f"{mean('taken', n, one):.0f}" for n in steps),
            *(f"{mean('cpu_s', n, one):.0f}" for n in steps),
        ]

    columns = [f"{what}, {n}" for what in ("ARI", "steps taken", "CPU s") for n in steps]
    return table(
        ["set", *columns], [*([one, *line(one)] for one in sets), ["**mean**", *line(None)]]
    )


def main(arguments: list[str] | None = None) -> None:
    """Train on each set and write the page."""
    parser = parser_of("bench.training.lengths", __doc__)
    add_data(parser)
    add_seeds(parser, [0])
    add_settings(parser)
    parser.add_argument("--steps", type=numbers, default=[300, 150], help="as 300,150")
    args = parsed(parser, arguments)
    write_by_set(args, "Steps of scGPCL", NOTES, _of_set, _table, spatial=False)


if __name__ == "__main__":
    main()
