"""The stages that learn: train, embed, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import write_json
from scrcl.engine.device import resolve_device

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.stage import Run
    from scrcl.train.model import ScRCL

__all__ = ["cluster_cells", "embed_cells", "train_model"]

_WEIGHTS, _HISTORY = "model.pt", "history.json"


def train_model(run: Run, folder: Path) -> dict[str, Any]:
    """Train from the last checkpoint, or from the start; writes the weights and the loss history."""
    import torch

    from scrcl.engine.views import training_inputs
    from scrcl.train.batch import BatchSource
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.loop import train
    from scrcl.train.state import TrainState

    config, seed = run.config.train, run.config.seed
    device = resolve_device(run.config.device)
    inputs = training_inputs(run)
    state = TrainState.fresh(inputs, config, seed=seed, device=device)
    checkpoints = Checkpoints(run.folder.checkpoints, run.folder.manifest["fingerprint"])
    saved = checkpoints.latest()
    if saved is not None:
        state.restore(saved)
        run.reporter.note(f"training goes on from step {state.step} of {config.steps}.")
    advance = run.count("train", config.steps, "steps")
    advance(state.step)
    batches = BatchSource(inputs, config, seed=seed, device=device)
    train(state, batches, config, checkpoints=checkpoints, reporter=run.reporter)
    torch.save(state.model.state_dict(), folder / _WEIGHTS)
    write_json(folder / _HISTORY, state.history)
    n_seen = min(config.batch_cells, inputs.graph.n) * config.steps
    return {
        "n_cells": n_seen,
        "n_steps": config.steps,
        "n_batches": batches.n_batches,
        "n_parameters": sum(p.numel() for p in state.model.parameters()),
        "device": device,
        "losses": {k: v for k, v in state.history[-1].items() if k != "step"}
        if state.history
        else {},
    }


def embed_cells(run: Run, folder: Path) -> dict[str, Any]:
    """Write E and Z of all cells, streamed through the trained encoders."""
    from scrcl.engine.views import training_inputs
    from scrcl.train.infer import embed_all

    inputs = training_inputs(run)
    embed_all(
        _trained(run),
        inputs,
        folder,
        block_rows=run.budget.dense_block_rows,
        device=resolve_device(run.config.device),
        on_rows=run.count("embed", inputs.graph.n),
    )
    return {"n_cells": inputs.graph.n}


def cluster_cells(run: Run, folder: Path) -> dict[str, Any]:
    """Write the cluster of each cell: 0 .. n_clusters - 1, largest first."""
    from scrcl.engine.cluster import cluster
    from scrcl.engine.count import count_clusters

    config, seed = run.config, run.config.seed
    points = np.load(run.stage("embed") / f"{config.cluster.on}.npy", mmap_mode="r")
    n_clusters = config.n_clusters
    if n_clusters == "auto":
        scores = np.load(run.stage("reduce") / "scores.npy", mmap_mode="r")
        n_clusters = count_clusters(
            [scores, points], n_neighbors=config.graph.n_neighbors, config=config.cluster, seed=seed
        )
    labels = cluster(points, n_clusters, config=config.cluster, seed=seed)
    np.save(folder / "labels.npy", labels)
    return {
        "n_cells": len(labels),
        "n_clusters": int(labels.max()) + 1,
        "chosen_by": "auto" if config.n_clusters == "auto" else "given",
    }


def _trained(run: Run) -> ScRCL:
    import torch

    from scrcl.engine.views import training_inputs
    from scrcl.train.state import TrainState

    model = TrainState.fresh(training_inputs(run), run.config.train, seed=run.config.seed).model
    weights = torch.load(run.stage("train") / _WEIGHTS, map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return model
