"""The stages that learn: train, embed, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._atomic import write_json
from scrcl.engine.device import deterministic, resolve_device
from scrcl.engine.domains import graph_in_tissue, refined
from scrcl.errors import StoreError, TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.cluster.count import Counted
    from scrcl.engine.stage import Run
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.method import Learner
    from scrcl.train.state import TrainState
    from scrcl.typing import FloatArray

__all__ = ["cluster_cells", "embed_cells", "train_beside", "train_model", "trained_learner"]

_WEIGHTS, _HISTORY = "model.pt", "history.json"


def train_model(run: Run, folder: Path) -> dict[str, Any]:
    """Train from the last checkpoint, or from the start; writes the weights and the loss history."""
    import torch

    from scrcl.engine.views import training_inputs
    from scrcl.train.checkpoint import Checkpoints

    inputs = training_inputs(run)
    run.ranks.call()
    checkpoints = Checkpoints(
        run.folder.checkpoints, run.folder.manifest["fingerprint"], reporter=run.reporter
    )
    state, first_step = _trained_on(run, inputs, checkpoints)
    torch.save(state.learner.state_dict(), folder / _WEIGHTS)
    write_json(folder / _HISTORY, state.history)
    n_batches = -(-inputs.n_cells // state.minibatch_cells)
    return {
        "n_cells": inputs.n_cells * (state.step - first_step) // n_batches,
        "n_steps": state.step,
        "most_steps": state.most_steps,
        "stopped": state.step < state.most_steps,
        "kept_neighbors": state.checks.kept,
        "n_batches": n_batches,
        "minibatch_cells": state.minibatch_cells,
        "halvings": state.halvings,
        "n_ranks": run.ranks.size,
        "n_parameters": sum(p.numel() for p in state.learner.parameters()),
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
    run: Run, inputs: Any, checkpoints: Checkpoints | None
) -> tuple[TrainState[Any], int]:
    """Train together with the other ranks; return the state, and the step at which it began."""
    import torch

    from scrcl.engine.views import setup_of
    from scrcl.train.loop import train
    from scrcl.train.state import TrainState

    config, ranks = run.config.train, run.ranks
    method = run.config.method_entry.load()
    device = resolve_device(run.config.device, ranks.local)
    with deterministic(device), ranks.joined(device):
        setup = setup_of(run, device=device, ranks=ranks)
        state = TrainState.fresh(method, inputs, setup)
        saved = ranks.hand_out(checkpoints.latest() if checkpoints is not None else None)
        if saved is not None:
            state.restore(saved)
            run.reporter.note(f"Resuming training at step {state.step} of {state.most_steps}.")
        first_step = state.step
        run.count("train", state.most_steps, "steps")(first_step)
        try:
            train(
                method,
                inputs,
                state,
                setup,
                checkpoints=checkpoints,
                reporter=run.reporter,
                interruption=run.interruption,
            )
        except torch.OutOfMemoryError as error:  # a mini-batch that does not fit is halved
            message = (
                f"train.stop_cells must fit the memory of {device}; got {config.stop_cells} cells. "
                "Lower it, or set train.stop=never."
            )
            raise TrainingError(message) from error
    return state, first_step


def embed_cells(run: Run, folder: Path) -> dict[str, Any]:
    """Write the embedding of all cells, streamed through the trained learner."""
    from scrcl.engine.views import training_inputs, work_of

    inputs, method = training_inputs(run), run.config.method_entry.load()
    method.embed(
        trained_learner(run, inputs),
        inputs,
        folder,
        work_of(run, run.count("embed", inputs.n_cells)),
        space=run.config.clustered_on,
    )
    return {"n_cells": inputs.n_cells}


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


def trained_learner(run: Run, inputs: Any) -> Learner:
    """Return the learner of a finished stage ``train``, on the CPU."""
    import pickle

    import torch

    from scrcl.engine.views import setup_of

    learner: Learner = run.config.method_entry.load().start(inputs, setup_of(run))
    folder = run.stage("train")
    try:
        weights = torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        message = (
            f"{folder} must hold {_WEIGHTS} whole; got {type(error).__name__}. "
            "Delete that folder and run the same command again."
        )
        raise StoreError(message) from error
    learner.load_state_dict(weights)
    return learner
