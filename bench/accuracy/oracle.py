"""The choice that labels would have made: the training step whose clusters agree best with them.

``python -m bench.accuracy.oracle INPUT --seed S --out best.npz``. It is there to compare with published tables that
were made like this, and with the run that uses no labels. It is never a result of scrcl.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.labelled import read_labelled
from bench._frame.runs import config_of
from bench._frame.training import embedded, prepared, trained
from scrcl import score
from scrcl.cluster.find import cluster
from scrcl.train.schedule import schedule_of
from scrcl.train.stop import Looks, Stop

if TYPE_CHECKING:
    from bench._frame.training import Prepared
    from scrcl import RunConfig
    from scrcl.train.methods.scrcl.model import ScRCL

__all__ = ["main"]

LONGER = 2
"""The oracle trains for so many times the steps that a run takes at most."""


class _Best(Stop):
    """Checks when training does and at the run's last step, never stops it, and keeps the best clusters."""

    def __init__(self, data: Prepared, config: RunConfig, labels: Any, last: int) -> None:
        super().__init__(data.inputs, config.train, seed=config.seed)
        self._data, self._config, self._labels, self._last = data, config, labels, last
        self.ari, self.step, self.clusters = -np.inf, 0, np.empty(0, np.int32)

    def is_due(self, step: int) -> bool:
        """Check at the run's own last step too."""
        return super().is_due(step) or step == self._last

    def look(self, model: ScRCL, looks: Looks, step: int) -> bool:
        """Score, keep the best, and let training continue."""
        del looks
        clusters = _clusters(model, self._data, self._config)
        ari = score(clusters, self._labels)["ari"]
        if ari > self.ari:
            self.ari, self.step, self.clusters = ari, step, clusters
        return False

    def ended(self, looks: Looks) -> bool:
        """Let training continue."""
        del looks
        return False


def _clusters(model: ScRCL, data: Prepared, config: RunConfig) -> Any:
    assert isinstance(config.n_clusters, int)
    return cluster(
        embedded(model, data.inputs)[config.clustered_on],
        config.n_clusters,
        settings=config.cluster,
        seed=config.seed,
        scores=data.scores,
    )


def _best_step(path: Path, *, seed: int, settings: list[str]) -> tuple[int, Any, Any]:
    """Return the step after which labels agree best, the clusters there, and which cells are in the run."""
    known = read_labelled(path)
    config = config_of(settings, n_clusters=known.k, seed=seed, spatial=known.spatial, device="cpu")
    data = prepared(path, config)
    last = schedule_of(config.train, data.inputs.graph.n).n_steps
    longer = config.train.model_copy(update={"steps": LONGER * last})
    best = _Best(data, config, known.labels[data.retained], last)
    trained(data.inputs, longer, seed, stop=best)
    return best.step, best.clusters, data.retained


def main() -> None:
    """Write the best step, the clusters there, and which cells are in the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    step, clusters, retained = _best_step(args.input, seed=args.seed, settings=args.set)
    np.savez(args.out, step=step, clusters=clusters, retained=retained)


if __name__ == "__main__":
    main()
