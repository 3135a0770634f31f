"""The choice that labels would have made: the training step whose clusters agree best with them.

``python -m bench.accuracy.oracle INPUT --seed S --out best.npz``. It is there to compare with published tables that
were made like this, and with the run that uses no labels. It is never a result of scrcl.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame.labelled import read_labelled
from bench._frame.runs import config_of
from bench._frame.training import embedded, prepared, setup_of, trained_in_parts
from scrcl.cluster.find import cluster
from scrcl.engine.evaluate import score
from scrcl.train.schedule import schedule_of

if TYPE_CHECKING:
    from bench._frame.training import Prepared
    from scrcl import RunConfig
    from scrcl.train.methods.scrcl.method import ScrclLearner

__all__ = ["main"]

LONGER = 2
"""The oracle trains for so many times the steps that a run takes at most."""


class _Best(NamedTuple):
    step: int
    clusters: Any
    retained: Any
    """Which cells of the input are in the run"""


def _best_step(path: Path, *, seed: int, settings: list[str]) -> _Best:
    """Return the step after which labels agree best, and the clusters there.

    Steps are scored where a run checks stability, and at the last step that a run takes.
    """
    known = read_labelled(path)
    config = config_of(settings, n_clusters=known.k, seed=seed, spatial=known.spatial, device="cpu")
    data = prepared(path, config)
    labels = known.labels[data.retained]
    last, every = schedule_of(config.train, data.inputs.n_cells).n_steps, config.train.stop_every
    scored = sorted({*range(every, LONGER * last + 1, every), last})
    endless = setup_of(config).with_train(stop="never")
    best, best_ari = _Best(0, np.empty(0, np.int32), data.retained), -np.inf
    for state in trained_in_parts(data.inputs, endless, scored):
        clusters = _clusters(state.learner, data, config)
        ari = score(clusters, labels)["ari"]
        if ari > best_ari:
            best, best_ari = _Best(state.step, clusters, data.retained), ari
    return best


def _clusters(learner: ScrclLearner, data: Prepared, config: RunConfig) -> Any:
    assert isinstance(config.n_clusters, int)
    return cluster(
        embedded(learner, data.inputs)[config.clustered_on],
        config.n_clusters,
        settings=config.cluster,
        seed=config.seed,
        scores=data.scores,
    )


def main() -> None:
    """Write the best step, the clusters there, and which cells are in the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    best = _best_step(args.input, seed=args.seed, settings=args.set)
    np.savez(args.out, **best._asdict())


if __name__ == "__main__":
    main()
