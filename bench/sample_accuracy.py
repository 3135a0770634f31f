"""Agreement with labels where batches are uniform and where they join pieces, all else being equal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.sample_data import reordered
from scrcl.cluster.find import cluster
from scrcl.engine.config import RunConfig
from scrcl.engine.evaluate import score
from scrcl.engine.pipeline import STAGES, run_pipeline
from scrcl.engine.stage import Stage
from scrcl.engine.views import training_inputs
from scrcl.graph.partition import partition
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import EMBEDDING, embed_all
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    from scrcl.engine.stage import Run
    from scrcl.train.config import TrainConfig
    from scrcl.train.methods.scrcl.minibatch import Inputs

__all__ = ["Before", "agreement", "agreement_table", "inputs_before_training", "with_pieces"]

LABELS = "cell_type"


def agreement(
    path: Path,
    *,
    batch_cells: int,
    pieces: list[int],
    list_cells: int,
    negatives: list[str],
    seeds: list[int],
    steps: int,
) -> list[dict[str, Any]]:
    """Scores of one labelled file for each seed, composition and estimator of the means."""
    import anndata

    labels = anndata.read_h5ad(path, backed="r").obs[LABELS].to_numpy()
    rows = []
    for seed in seeds:
        config = RunConfig(
            n_clusters=len(set(labels)),
            seed=seed,
            device="cpu",
            train={"batch_cells": batch_cells, "steps": steps},
        )
        before = inputs_before_training(path, config)
        order = partition(before.inputs.x, seed=0, list_rows=list_cells).order
        before = before._replace(inputs=reordered(before.inputs, order))
        for piece in pieces:
            for means in negatives:
                changed = with_pieces(config.train, piece, negatives=means)
                scores = score(_clusters(before, config, changed), labels[before.kept])
                rows.append(
                    {
                        "dataset": path.stem,
                        "n_cells": before.inputs.graph.n,
                        "seed": seed,
                        "piece_cells": piece,
                        "negatives": means,
                        **{name: float(scores[name]) for name in ("acc", "nmi", "ari")},
                    }
                )
    return rows


def with_pieces(config: TrainConfig, piece: int, **changes: Any) -> TrainConfig:
    """Return the settings with batches of pieces; uniform ones where a piece is one cell."""
    kind = "uniform" if piece == 1 else "partitions"
    return config.model_copy(update={"batches": kind, "piece_cells": piece, **changes})


class Before(NamedTuple):
    """What a run has before it trains, in memory."""

    inputs: Inputs
    kept: Any
    """shape (n_cells,): which cells are in the run"""
    scores: Any
    """Components of the cells that final clusters look at; None for tissues"""


def inputs_before_training(path: Path, config: RunConfig) -> Before:
    """Run all stages before training."""
    from scrcl.prep.stats import MatrixStats

    found: list[Before] = []

    def fill(run: Run, _: Path) -> dict[str, Any]:
        inputs = training_inputs(run)
        kept = MatrixStats.load(run.stage("stats")).retained
        scores = None if config.spatial else np.array(run.array("reduce", "scores"))
        found.append(Before(reordered(inputs, np.arange(inputs.graph.n)), kept, scores))
        return {"n_cells": inputs.graph.n}

    before = [stage.name for stage in STAGES].index("train")
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        stages = [*STAGES[:before], Stage("inputs", fill)]
        run_pipeline([path], Path(folder) / "out", config, stages=stages)
    return found[0]


def _clusters(before: Before, config: RunConfig, changed: TrainConfig) -> Any:
    inputs = before.inputs
    state = TrainState.fresh(inputs, changed, seed=config.seed)
    train(state, BatchSource(inputs, changed, seed=config.seed), changed)
    assert isinstance(config.n_clusters, int)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        embed_all(state.model, inputs, Path(folder))
        points = np.load(Path(folder) / EMBEDDING)
    return cluster(
        points, config.n_clusters, config=config.cluster, seed=config.seed, scores=before.scores
    )


def agreement_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: ARI, mean ± deviation over seeds, a row a set."""
    sides = list(dict.fromkeys((row["piece_cells"], row["negatives"]) for row in rows))
    head = [
        f"{'uniform' if piece == 1 else f'pieces of {piece:,}'}, {means}" for piece, means in sides
    ]
    lines = ["| set | cells | " + " | ".join(head) + " |", "|---" * (2 + len(head)) + "|"]
    for name in sorted({row["dataset"] for row in rows}):
        own = [row for row in rows if row["dataset"] == name]
        told = []
        for side in sides:
            ari = [row["ari"] for row in own if (row["piece_cells"], row["negatives"]) == side]
            told.append(f"{np.mean(ari):.3f} ± {np.std(ari):.3f}")
        lines.append(f"| {name} | {own[0]['n_cells']:,} | {' | '.join(told)} |")
    return lines
