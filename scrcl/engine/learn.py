"""The stages that learn: train, embed, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import write_json
from scrcl.engine.device import resolve_device
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.stage import Run
    from scrcl.train.batch import Inputs
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
    from scrcl.train.schedule import schedule_of
    from scrcl.train.state import TrainState
    from scrcl.train.stop import Stop

    config, seed = run.config.train, run.config.seed
    device = resolve_device(run.config.device)
    inputs = training_inputs(run)
    state = TrainState.fresh(inputs, config, seed=seed, device=device)
    checkpoints = Checkpoints(run.folder.checkpoints, run.folder.manifest["fingerprint"])
    saved = checkpoints.latest()
    n_steps = schedule_of(config, inputs.graph.n).n_steps
    if saved is not None:
        state.restore(saved)
        run.reporter.note(f"training goes on from step {state.step} of {n_steps}.")
    first_step = state.step
    run.count("train", n_steps, "steps")(first_step)
    batches = BatchSource(inputs, config, seed=seed, device=device)
    stop = Stop(inputs, config, seed=seed, device=device) if config.stop == "auto" else None
    train(state, batches, config, stop=stop, checkpoints=checkpoints, reporter=run.reporter)
    stopped = stop is not None and stop.ended(state.looks)
    torch.save(state.model.state_dict(), folder / _WEIGHTS)
    write_json(folder / _HISTORY, state.history)
    return {
        "n_cells": inputs.graph.n * (state.step - first_step) // batches.n_batches,
        "n_steps": state.step,
        "most_steps": n_steps,
        "stopped": stopped,
        "kept_neighbors": state.looks.kept,
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
        _trained(run, inputs),
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
    points = run.array("embed", config.cluster.on)
    n_clusters = config.n_clusters
    if n_clusters == "auto":
        scores = run.array("reduce", "scores")
        n_clusters = count_clusters(
            [scores, points], n_neighbors=config.graph.n_neighbors, config=config.cluster, seed=seed
        )
    labels = cluster(points, n_clusters, config=config.cluster, seed=seed)
    np.save(folder / "labels.npy", labels)
    n_found = int(labels.max()) + 1
    if n_found < n_clusters:
        run.reporter.note(
            f"{n_found} clusters were found and not {n_clusters}: too few cells differ."
        )
    return {
        "n_cells": len(labels),
        "n_clusters": n_found,
        "n_clusters_wanted": n_clusters,
        "chosen_by": "auto" if config.n_clusters == "auto" else "given",
    }


def _trained(run: Run, inputs: Inputs) -> ScRCL:
    import pickle

    import torch

    from scrcl.train.state import TrainState

    model = TrainState.fresh(inputs, run.config.train, seed=run.config.seed).model
    folder = run.stage("train")
    try:
        weights = torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        message = (
            f"{folder} must hold {_WEIGHTS} whole; got {type(error).__name__}. "
            "Delete that folder and run the same command again."
        )
        raise StoreError(message) from error
    model.load_state_dict(weights)
    return model
