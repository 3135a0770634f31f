"""Variations trained and scored on one labelled set, with all that they share made once.

What training reads is made once for all seeds and variations that ask for the same, with seed 0: seeds then differ in
weights, batches and final clusters. An embedding is made once for all final clusterings of it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.ablation_encoders import EachAlone, without_edges
from bench.process import commit
from bench.sample_accuracy import LABELS, inputs_before_training
from scrcl.cluster.find import cluster
from scrcl.engine.evaluate import score
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import EMBEDDING, REFINED, embed_all
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.state import TrainState
from scrcl.train.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bench.ablation_variations import Variation
    from bench.sample_accuracy import Before
    from scrcl.engine.config import RunConfig
    from scrcl.train.methods.scrcl.minibatch import Inputs

__all__ = ["runs"]

_OF_INPUTS = ("features", "smoothing_mlp", "smoothing_gcn", "row_normalize")
"""Settings of training that are read before it."""


@dataclass(frozen=True, eq=False)
class _Embedded:
    """Both representations of the cells, and what they took."""

    points: dict[str, Any]
    steps: int
    seconds: float


class _Made:
    """What was made for one set, by the settings that it depends on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inputs: dict[str, Before] = {}
        self._embedded: dict[tuple[Any, ...], _Embedded] = {}

    def before(self, config: RunConfig) -> Before:
        """Return what the run has before it trains."""
        key = _input_key(config)
        if key not in self._inputs:
            first = config.model_copy(update={"seed": 0})
            self._inputs[key] = inputs_before_training(self._path, first)
        return self._inputs[key]

    def embedded(self, config: RunConfig, *, two_mlps: bool) -> _Embedded:
        """Return the embedding after training; those of one seed are kept."""
        key = (_input_key(config), config.train, two_mlps)
        if key not in self._embedded:
            self._embedded[key] = _embed(self.before(config).inputs, config, two_mlps=two_mlps)
        return self._embedded[key]

    def forget_embeddings(self) -> None:
        """Let go of the embeddings of a seed."""
        self._embedded.clear()


def runs(
    path: Path,
    variations: list[Variation],
    seeds: list[int],
    done: Collection[tuple[str, int, str]],
) -> Iterator[dict[str, Any]]:
    """Yield a row for each seed and variation: its settings and its scores at the true K.

    ``done`` names what is left out: set, seed and variation.
    """
    import anndata

    opened = anndata.read_h5ad(path)
    labels, spatial = opened.obs[LABELS].to_numpy(), "spatial" in opened.obsm
    del opened
    k, made, at_commit = len(set(labels)), _Made(path), commit()
    for seed in seeds:
        for variation in variations:
            if (path.stem, seed, variation.name) in done:
                continue
            config = variation.config(n_clusters=k, seed=seed, spatial=spatial, device="cpu")
            found = made.embedded(config, two_mlps=variation.two_mlps)
            points = found.points[config.clustered_on]
            before = made.before(config)
            clusters = cluster(points, k, config=config.cluster, seed=seed, scores=before.scores)
            scores = score(clusters, labels[before.kept])
            yield {
                "group": variation.group,
                "variation": variation.name,
                "settings": list(variation.settings),
                "dataset": path.stem,
                "spatial": spatial,
                "n_cells": len(clusters),
                "k": k,
                "seed": seed,
                **{name: float(scores[name]) for name in ("acc", "nmi", "ari")},
                "n_clusters": int(scores["n_clusters"]),
                "steps": found.steps,
                "train_seconds": found.seconds,
                "commit": at_commit,
            }
        made.forget_embeddings()


def _input_key(config: RunConfig) -> str:
    """Return the settings that what training reads depends on, as text."""
    read = config.model_copy(update={"seed": 0}).model_dump_json(
        exclude={"train", "cluster", "report"}
    )
    return read + config.train.model_dump_json(include=set(_OF_INPUTS))


def _embed(inputs: Inputs, config: RunConfig, *, two_mlps: bool) -> _Embedded:
    """Train as the stage ``train`` does, and embed all cells."""
    start, seed = time.perf_counter(), config.seed
    source = EachAlone if two_mlps else BatchSource
    seen = without_edges(inputs) if two_mlps else inputs
    state = TrainState.fresh(inputs, config.train, seed=seed)
    stop = Stop(seen, config.train, seed=seed) if config.train.stop == "auto" else None
    train(state, source(inputs, config.train, seed=seed), config.train, stop=stop)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        embed_all(state.model, seen, Path(folder))
        files = {"embedding": EMBEDDING, "refined": REFINED}
        points = {name: np.load(Path(folder) / file) for name, file in files.items()}
        points["graph_view"] = np.ascontiguousarray(points["embedding"][:, config.train.dim :])
    return _Embedded(points, state.step, time.perf_counter() - start)
