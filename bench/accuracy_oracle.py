"""What labels would have chosen: the look along training whose clusters agree best with them.

``python -m bench.accuracy_oracle INPUT --seed S --out best.npz``. For comparison with published tables that were
made like this, and with the run that sees no labels; never a result of scrcl.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.sample_accuracy import LABELS, inputs_before_training
from scrcl.cluster.find import cluster
from scrcl.engine.evaluate import score
from scrcl.engine.graph_view import add_graph_view
from scrcl.engine.load_config import load_config
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import embed_all
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.schedule import schedule_of
from scrcl.train.state import TrainState
from scrcl.train.stop import Looks, Stop

if TYPE_CHECKING:
    from bench.sample_accuracy import Before
    from scrcl.engine.config import RunConfig
    from scrcl.train.methods.scrcl.model import ScRCL

__all__ = ["LONGER", "best_look"]

LONGER = 2
"""The oracle looks along so many times the steps that the run takes at most."""


class _Best(Stop):
    """Looks when training does and at its last step, never stops it, and keeps the clusters that agree best."""

    def __init__(self, before: Before, config: RunConfig, labels: Any, last: int) -> None:
        super().__init__(before.inputs, config.train, seed=config.seed)
        self._before, self._config, self._labels, self._last = before, config, labels, last
        self.ari, self.step, self.clusters = -np.inf, 0, np.empty(0, np.int32)

    def is_due(self, step: int) -> bool:
        """Look at the run's own last step too."""
        return super().is_due(step) or step == self._last

    def look(self, model: ScRCL, looks: Looks, step: int) -> bool:
        """Score, keep, and say that training goes on."""
        del looks
        clusters = _clusters(model, self._before, self._config)
        ari = score(clusters, self._labels)["ari"]
        if ari > self.ari:
            self.ari, self.step, self.clusters = ari, step, clusters
        return False

    def ended(self, looks: Looks) -> bool:
        """Say that training goes on."""
        del looks
        return False


def _clusters(model: ScRCL, before: Before, config: RunConfig) -> Any:
    training = model.training
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        embed_all(model, before.inputs, Path(folder))
        add_graph_view(Path(folder), config, block_rows=65_536)
        points = np.load(Path(folder) / f"{config.clustered_on}.npy")
    model.train(training)
    assert isinstance(config.n_clusters, int)
    return cluster(
        points,
        config.n_clusters,
        config=config.cluster,
        seed=config.seed,
        scores=before.scores,
    )


def best_look(path: Path, *, seed: int, settings: list[str]) -> tuple[int, Any, Any]:
    """Return the step after which labels agree best, the clusters there, and which cells were kept."""
    import anndata

    opened = anndata.read_h5ad(path)
    labels, spatial = opened.obs[LABELS].to_numpy(), "spatial" in opened.obsm
    del opened
    given = {"n_clusters": len(set(labels)), "seed": seed, "spatial": spatial, "device": "cpu"}
    config = load_config(settings=settings, overrides=given)
    before = inputs_before_training(path, config)
    inputs, kept, _ = before
    last = schedule_of(config.train, inputs.graph.n).n_steps
    longer = config.train.model_copy(update={"steps": LONGER * last})
    best = _Best(before, config, labels[kept], last)
    state = TrainState.fresh(inputs, longer, seed=seed)
    train(state, BatchSource(inputs, longer, seed=seed), longer, stop=best)
    return best.step, best.clusters, kept


def main() -> None:
    """Write the clusters of the best look, its step, and which cells were kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    step, clusters, kept = best_look(args.input, seed=args.seed, settings=args.set)
    np.savez(args.out, step=step, clusters=clusters, kept=kept)


if __name__ == "__main__":
    main()
