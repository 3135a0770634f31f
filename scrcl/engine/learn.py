"""The stages that learn: train, embed, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._atomic import write_json
from scrcl.engine.device import deterministic, resolve_device
from scrcl.engine.domains import graph_in_tissue, refined
from scrcl.engine.graph_view import add_graph_view
from scrcl.errors import StoreError, TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.cluster.count import Counted
    from scrcl.engine.stage import Run
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.state import TrainState
    from scrcl.typing import FloatArray

__all__ = ["cluster_cells", "embed_cells", "train_beside", "train_model", "trained_model"]

_WEIGHTS, _HISTORY = "model.pt", "history.json"


def train_model(run: Run, folder: Path) -> dict[str, Any]:
    """Train from the last checkpoint, or from the start; writes the weights and the loss history."""
    import torch

    from scrcl.engine.views import training_inputs
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.schedule import schedule_of

    inputs = training_inputs(run)
    run.ranks.call()
    checkpoints = Checkpoints(
        run.folder.checkpoints, run.folder.manifest["fingerprint"], reporter=run.reporter
    )
    state, first_step = _trained_on(run, inputs, checkpoints)
    torch.save(state.model.state_dict(), folder / _WEIGHTS)
    write_json(folder / _HISTORY, state.history)
    n_batches = -(-inputs.graph.n // state.batch_cells)
    most_steps = schedule_of(run.config.train, inputs.graph.n).n_steps
    return {
        "n_cells": inputs.graph.n * (state.step - first_step) // n_batches,
        "n_steps": state.step,
        "most_steps": most_steps,
        "stopped": state.step < most_steps,
        "kept_neighbors": state.looks.kept,
        "n_batches": n_batches,
        "batch_cells": state.batch_cells,
        "halvings": state.halvings,
        "n_ranks": run.ranks.size,
        "n_parameters": sum(p.numel() for p in state.model.parameters()),
        "device": str(state.device),
        "losses": {k: v for k, v in state.history[-1].items() if k != "step"}
        if state.history
        else {},
    }


def train_beside(run: Run) -> None:
    """Train on a rank that writes nothing; rank 0 has made the inputs."""
    from scrcl.engine.views import training_inputs

    _trained_on(run, training_inputs(run), None)


def _trained_on(
    run: Run, inputs: Inputs, checkpoints: Checkpoints | None
) -> tuple[TrainState, int]:
    """Train together with the other ranks; returns the state, and the step that it began at."""
    import torch

    from scrcl.train.loop import train
    from scrcl.train.methods.scrcl.minibatch import BatchSource
    from scrcl.train.schedule import schedule_of
    from scrcl.train.state import TrainState
    from scrcl.train.stop import Stop

    config, seed, ranks = run.config.train, run.config.seed, run.ranks
    device = resolve_device(run.config.device, ranks.local)
    with deterministic(device), ranks.joined(device):
        state = TrainState.fresh(inputs, config, seed=seed, device=device)
        saved = ranks.hand_out(checkpoints.latest() if checkpoints is not None else None)
        n_steps = schedule_of(config, inputs.graph.n).n_steps
        if saved is not None:
            state.restore(saved)
            run.reporter.note(f"training goes on from step {state.step} of {n_steps}.")
        first_step = state.step
        run.count("train", n_steps, "steps")(first_step)
        batches = BatchSource(
            inputs,
            config.model_copy(update={"batch_cells": state.batch_cells}),
            seed=seed,
            device=device,
            ranks=ranks,
        )
        try:
            train(
                state,
                batches,
                config,
                stop=Stop(inputs, config, seed=seed, device=device)
                if config.stop == "auto"
                else None,
                checkpoints=checkpoints,
                reporter=run.reporter,
                ranks=ranks,
                interruption=run.interruption,
            )
        except torch.OutOfMemoryError as error:  # a batch's own is met by a smaller one
            message = (
                f"train.stop_cells must fit the memory of {device}; got {config.stop_cells} cells. "
                "Lower it, or set train.stop=never."
            )
            raise TrainingError(message) from error
    return state, first_step


def embed_cells(run: Run, folder: Path) -> dict[str, Any]:
    """Write E and Z of all cells, streamed through the trained encoders."""
    from scrcl.engine.views import training_inputs
    from scrcl.train.methods.scrcl.embed import embed_all

    inputs = training_inputs(run)
    embed_all(
        trained_model(run, inputs),
        inputs,
        folder,
        block_rows=run.budget.dense_block_rows,
        device=resolve_device(run.config.device, run.ranks.local),
        on_rows=run.count("embed", inputs.graph.n),
    )
    add_graph_view(folder, run.config, block_rows=run.budget.dense_block_rows)
    return {"n_cells": inputs.graph.n}


def cluster_cells(run: Run, folder: Path) -> dict[str, Any]:
    """Write the cluster of each cell, 0 .. n_clusters - 1, largest first, how sure it is, and what new cells go by."""
    from scrcl.cluster.find import find_clusters
    from scrcl.cluster.protocol import Spaces
    from scrcl.engine.outcome import leave

    config = run.config
    points = run.array("embed", config.clustered_on)
    # Components of cells tell types; of domains, which join types, they know nothing.
    scores = None if config.spatial else run.array("reduce", "scores")
    counted = _count(run, points, scores)
    found = find_clusters(
        Spaces(points, scores, config.graph.n_neighbors),
        counted.n_clusters,
        config=config.cluster,
        seed=config.seed,
    )
    found = found._replace(notes=[*filter(None, [counted.note]), *found.notes])
    found, facts = refined(run, found, folder)
    for note in found.notes:
        run.reporter.note(note)
    return {
        "n_cells": len(found.labels),
        "n_clusters": int(found.labels.max()) + 1,
        "n_clusters_wanted": counted.n_clusters,
        "chosen_by": "auto" if config.n_clusters == "auto" else "given",
        **facts,
        **leave(run, found, folder),
    }


def _count(run: Run, points: FloatArray, scores: FloatArray | None) -> Counted:
    """Return K: as given, or the number of communities."""
    from scrcl.cluster import count

    config = run.config
    if config.n_clusters != "auto":
        return count.Counted(config.n_clusters, None)
    return count.count_clusters(
        [points] if scores is None else [scores, points],
        n_neighbors=config.graph.n_neighbors,
        config=config.cluster,
        seed=config.seed,
        tissue=graph_in_tissue(run) if config.spatial else None,
    )


def trained_model(run: Run, inputs: Inputs) -> ScRCL:
    """Return the model of a finished stage ``train``, on the CPU."""
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
