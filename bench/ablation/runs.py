"""Variations trained and scored on one labelled set; what they share is made once.

The inputs of training are made once for all seeds and variations with the same settings before training, with seed 0.
So seeds differ in weights, mini-batches and final clusters. An embedding is made once for all clusterings of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from bench._frame.conditions import commit
from bench._frame.labelled import read_labelled
from bench._frame.training import embedded, prepared
from bench.ablation.encoders import SingleCells, without_edges
from scrcl import score
from scrcl.cluster.find import cluster
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.state import TrainState
from scrcl.train.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from bench._frame.training import Prepared
    from bench.ablation.variations import Variation
    from scrcl import RunConfig
    from scrcl.train.methods.scrcl.minibatch import Inputs

__all__ = ["runs"]

_OF_INPUTS = ("features", "smoothing_mlp", "smoothing_gcn", "row_normalize")
"""Settings of training that its inputs depend on."""


class _Embedded(NamedTuple):
    """The embeddings of the cells, and the cost of training."""

    points: dict[str, Any]
    steps: int
    seconds: float


class _Made:
    """What was made for one set, by the settings that it depends on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prepared: dict[str, Prepared] = {}
        self._embedded: dict[tuple[Any, ...], _Embedded] = {}

    def prepared(self, config: RunConfig) -> Prepared:
        """Return the results of the stages before training."""
        key = _input_key(config)
        if key not in self._prepared:
            first = config.model_copy(update={"seed": 0})
            self._prepared[key] = prepared(self._path, first)
        return self._prepared[key]

    def embedded(self, config: RunConfig, *, two_mlps: bool) -> _Embedded:
        """Return the embeddings after training; those of one seed are kept."""
        key = (_input_key(config), config.train, two_mlps)
        if key not in self._embedded:
            self._embedded[key] = _embed(self.prepared(config).inputs, config, two_mlps=two_mlps)
        return self._embedded[key]

    def forget_embeddings(self) -> None:
        """Free the embeddings of a seed."""
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
    known, made, at_commit = read_labelled(path), _Made(path), commit()
    for seed in seeds:
        for variation in variations:
            if (path.stem, seed, variation.name) in done:
                continue
            config = variation.config(
                n_clusters=known.k, seed=seed, spatial=known.spatial, device="cpu"
            )
            found = made.embedded(config, two_mlps=variation.two_mlps)
            data = made.prepared(config)
            clusters = cluster(
                found.points[config.clustered_on],
                known.k,
                settings=config.cluster,
                seed=seed,
                scores=data.scores,
            )
            scores = score(clusters, known.labels[data.retained])
            yield {
                "group": variation.group,
                "variation": variation.name,
                "settings": list(variation.settings),
                "dataset": path.stem,
                "spatial": known.spatial,
                "n_cells": len(clusters),
                "k": known.k,
                "seed": seed,
                **{name: float(scores[name]) for name in ("acc", "nmi", "ari")},
                "n_clusters": int(scores["n_clusters"]),
                "steps": found.steps,
                "train_seconds": found.seconds,
                "commit": at_commit,
            }
        made.forget_embeddings()


def _input_key(config: RunConfig) -> str:
    """Return the settings that the inputs of training depend on, as text."""
    read = config.model_copy(update={"seed": 0}).model_dump_json(
        exclude={"train", "cluster", "report"}
    )
    return read + config.train.model_dump_json(include=set(_OF_INPUTS))


def _embed(inputs: Inputs, config: RunConfig, *, two_mlps: bool) -> _Embedded:
    """Train as the stage ``train`` does, and embed all cells."""
    start, seed = time.perf_counter(), config.seed
    source = SingleCells if two_mlps else BatchSource
    viewed = without_edges(inputs) if two_mlps else inputs
    state = TrainState.fresh(inputs, config.train, seed=seed)
    stop = Stop(viewed, config.train, seed=seed) if config.train.stop == "auto" else None
    train(state, source(inputs, config.train, seed=seed), config.train, stop=stop)
    return _Embedded(embedded(state.model, viewed), state.step, time.perf_counter() - start)
