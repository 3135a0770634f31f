"""The choice that labels would have made: the training step whose clusters agree best with them.

``python -m bench.accuracy.oracle INPUT --seed S --out best.npz``. It is there to compare with published tables that
were made like this, and with the run that uses no labels. It is never a result of scrcl.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame import runs
from bench._frame.labelled import read_labelled
from bench._frame.runs import config_of
from scrcl.cluster.find import cluster
from scrcl.engine.evaluate import score
from scrcl.engine.learning import method_of, setup_of
from scrcl.train.loop import train
from scrcl.train.ranks import Ranks
from scrcl.train.schedule import schedule_of
from scrcl.train.setup import Work
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import Tensor

    from scrcl import RunConfig
    from scrcl.train.method import Learner, Method
    from scrcl.train.setup import Setup, Step

__all__ = ["clusters_of", "main", "train_watched"]

LONGER = 2
"""The oracle trains a method of one phase for so many times the steps that a run takes at most."""


class _Best(NamedTuple):
    step: int
    clusters: Any
    retained: Any
    """Which cells of the input are in the run"""


class _Watched:
    """A method that shows its learner after some steps, before the next one, and says when a phase begins."""

    def __init__(
        self,
        method: Method[Any, Any, Any, Any],
        at: Collection[int],
        see: Callable[[int, Learner], None],
        on_phase: Callable[[str, int], None] | None,
    ) -> None:
        self._method, self._at, self._see, self._on_phase = method, at, see, on_phase
        self._phase = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def step(self, learner: Learner, batch: Any, now: Step) -> dict[str, Tensor]:
        if now.number in self._at:
            self._see(now.number, learner)
        if now.phase.name != self._phase:
            self._phase = now.phase.name
            if self._on_phase is not None:
                self._on_phase(self._phase, now.number)
        return self._method.step(learner, batch, now)


def _best_step(path: Path, *, seed: int, settings: list[str]) -> _Best:
    """Return the step after which labels agree best, and the clusters there.

    Steps are scored where a run checks stability, and at the last step that a run takes.
    """
    known = read_labelled(path)
    config = config_of(settings, n_clusters=known.k, seed=seed, spatial=known.spatial, device="cpu")
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(path, out, config, until="inputs")
        inputs, retained = runs.training_inputs(out), np.array(runs.retained(out))
        scores = None if config.spatial else np.array(runs.components(out))
        labels, best, best_ari = known.labels[retained], _Best(0, None, retained), -np.inf

        def see(step: int, learner: Learner) -> None:
            nonlocal best, best_ari
            clusters = clusters_of(learner, inputs, config, scores, Path(folder))
            ari = score(clusters, labels)["ari"]
            if ari > best_ari:
                best, best_ari = _Best(step, clusters, retained), ari

        train_watched(config, inputs, see)
    return best


def train_watched(
    config: RunConfig,
    inputs: Any,
    see: Callable[[int, Learner], None],
    *,
    as_run: bool = False,
    every: int | None = None,
    on_phase: Callable[[str, int], None] | None = None,
) -> None:
    """Train, and show the learner every so many steps; None: at each stability check.

    ``on_phase`` gets the name of each phase and the steps before it.

    The stopping rule is left out, and a method of one phase is trained for longer, unless ``as_run``.
    """
    method = method_of(config)
    how = setup_of(config, device="cpu", ranks=Ranks.alone())
    last, every = (
        schedule_of(config.train, inputs.n_cells).n_steps,
        every or config.train.stop_every,
    )
    if not as_run:
        how = _lengthened(method, how.with_train(stop="never"), inputs, last)
    end = schedule_of(how.train, inputs.n_cells).n_steps
    watched: Any = _Watched(method, {*range(every, end, every), last}, see, on_phase)
    state = TrainState.fresh(watched, inputs, how)
    train(watched, inputs, state, how)
    see(state.step, state.learner)


def _lengthened(
    method: Method[Any, Any, Any, Any], how: Setup[Any], inputs: Any, n_steps: int
) -> Setup[Any]:
    """Return settings with more steps. Phases would take place at other steps then, so several stay as they are."""
    if len(method.phases(how, inputs)) > 1:
        return how
    return how.with_train(steps=LONGER * n_steps, epochs=None)


def clusters_of(learner: Learner, inputs: Any, config: RunConfig, scores: Any, folder: Path) -> Any:
    """Return the clusters at this step; the learner stays in training."""
    assert isinstance(config.n_clusters, int)
    space = config.clustered_on
    training = learner.training
    method_of(config).embed(learner, inputs, folder, Work(), space=space)
    learner.train(training)
    return cluster(
        np.load(folder / f"{space}.npy"),
        config.n_clusters,
        settings=config.cluster,
        seed=config.seed,
        scores=scores,
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
