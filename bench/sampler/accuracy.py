"""Agreement with labels for uniform mini-batches and for those of pieces, all else being equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame.labelled import read_labelled
from bench._frame.page import table
from bench._frame.training import changed, embedded, prepared, reordered, setup_of, trained
from scrcl import RunConfig
from scrcl.cluster.find import cluster
from scrcl.engine.evaluate import score
from scrcl.graph.divide import partition

if TYPE_CHECKING:
    from pathlib import Path

    from bench._frame.training import Prepared
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup

__all__ = ["Plan", "agreement", "agreement_table"]


class Plan(NamedTuple):
    """The mini-batches to compare."""

    minibatch_cells: int
    pieces: list[int]
    """Cells of a piece; mini-batches of pieces of one cell are uniform"""
    list_cells: int
    negatives: list[str]
    steps: int


def agreement(path: Path, plan: Plan, seeds: list[int]) -> list[dict[str, Any]]:
    """Return scores of a labelled file for each seed, composition and estimator of the means."""
    known = read_labelled(path)
    rows = []
    for seed in seeds:
        config = RunConfig(
            n_clusters=known.k,
            seed=seed,
            device="cpu",
            train={
                "minibatch_cells": plan.minibatch_cells,
                "steps": plan.steps,
                "stop": "never",
            },
        )
        data = prepared(path, config)
        order = partition(data.inputs.x, seed=0, list_rows=plan.list_cells).order
        data = data._replace(inputs=reordered(data.inputs, order))
        for piece in plan.pieces:
            for means in plan.negatives:
                how = _with_pieces(setup_of(config), piece, negatives=means)
                scores = score(_clusters(data, config, how), known.labels[data.retained])
                rows.append(
                    {
                        "dataset": path.stem,
                        "n_cells": data.inputs.graph.n,
                        "seed": seed,
                        "piece_cells": piece,
                        "negatives": means,
                        **{name: float(scores[name]) for name in ("acc", "nmi", "ari")},
                    }
                )
    return rows


def _with_pieces(how: Setup[ScrclSettings], piece: int, **changes: Any) -> Setup[ScrclSettings]:
    """Return the settings with mini-batches of pieces; uniform ones where a piece is one cell."""
    kind = "uniform" if piece == 1 else "partitions"
    return changed(how, minibatches=kind, piece_cells=piece, **changes)


def _clusters(data: Prepared, config: RunConfig, how: Setup[ScrclSettings]) -> Any:
    assert isinstance(config.n_clusters, int)
    return cluster(
        embedded(trained(data.inputs, how).learner, data.inputs)["embedding"],
        config.n_clusters,
        settings=config.cluster,
        seed=config.seed,
        scores=data.scores,
    )


def agreement_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each set: ARI, mean ± standard deviation over seeds."""
    sides = list(dict.fromkeys((row["piece_cells"], row["negatives"]) for row in rows))
    columns = [
        f"{'uniform' if piece == 1 else f'pieces of {piece:,}'}, {means}" for piece, means in sides
    ]
    lines = []
    for name in sorted({row["dataset"] for row in rows}):
        own = [row for row in rows if row["dataset"] == name]
        cells = [name, f"{own[0]['n_cells']:,}"]
        for side in sides:
            ari = [row["ari"] for row in own if (row["piece_cells"], row["negatives"]) == side]
            cells.append(f"{np.mean(ari):.3f} ± {np.std(ari):.3f}")
        lines.append(cells)
    return table(["set", "cells", *columns], lines)
