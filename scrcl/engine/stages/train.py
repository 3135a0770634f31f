"""Stage ``train``: fit the method's model, from the last checkpoint or from the start."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

from scrcl._atomic import write_json
from scrcl._contract import Artifact
from scrcl.engine.device import deterministic, resolve_device
from scrcl.engine.learning import (
    estimates_of,
    method_of,
    open_inputs,
    require_weights_of,
    setup_of,
    untrained,
)
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.inputs import METHOD_INPUTS
from scrcl.errors import StoreError, TrainingError
from scrcl.report.page import Figure, Section
from scrcl.train.settings import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.outputs import Outputs
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.method import Learner
    from scrcl.train.state import TrainState

__all__ = ["HISTORY", "WEIGHTS", "TrainStage", "trained_learner"]

_WEIGHTS, _HISTORY = "model.pt", "history.json"


def _load_weights(folder: Path) -> Mapping[str, Any]:
    import torch

    try:
        weights: Mapping[str, Any] = torch.load(
            folder / _WEIGHTS, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        message = (
            f"{folder} must hold {_WEIGHTS} whole; got {type(error).__name__}. "
            "Delete that folder and run the same command again."
        )
        raise StoreError(message) from error
    return weights


def _load_history(folder: Path) -> list[dict[str, float]]:
    history: list[dict[str, float]] = json.loads((folder / _HISTORY).read_text(encoding="utf-8"))
    return history


WEIGHTS: Artifact[Mapping[str, Any]] = Artifact("trained weights", _load_weights)
"""State of the trained learner, by name."""

HISTORY: Artifact[list[dict[str, float]]] = Artifact("loss history", _load_history)
"""One dict for each step: its number, the weighted loss terms and the length of the gradient."""


class TrainRecord(Record):
    """How training went."""

    n_steps: int
    most_steps: int
    stopped: bool
    kept_neighbors: tuple[dict[str, int | float], ...]
    n_batches: int
    minibatch_cells: int
    halvings: tuple[dict[str, int], ...]
    n_ranks: int
    n_parameters: int
    device: str
    losses: dict[str, float]


class TrainStage(Stage[TrainRecord]):
    """Trains, and writes the weights and the loss history."""

    name = "train"
    settings = TrainSettings
    record = TrainRecord
    gives = (WEIGHTS, HISTORY)
    joins_ranks = True

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return what the method estimates."""
        return estimates_of(shape, config).train

    def advice(self, config: RunConfig) -> str:
        """Return the settings that lower the memory of a training step."""
        return f"lower {' or '.join(('train.minibatch_cells', *method_of(config).lowers_memory))}"

    def run(self, context: Context, folder: Path) -> TrainRecord:
        """Train from the last checkpoint, or from the start."""
        import torch

        from scrcl.train.checkpoint import Checkpoints

        inputs = open_inputs(context, context.open(METHOD_INPUTS), context.config)
        context.ranks.call()
        checkpoints = Checkpoints(
            context.folder.checkpoints,
            context.folder.manifest["fingerprint"],
            reporter=context.reporter,
        )
        state, first_step = _train(context, inputs, checkpoints)
        torch.save(state.learner.state_dict(), folder / _WEIGHTS)
        write_json(folder / _HISTORY, state.history)
        n_batches = -(-inputs.n_cells // state.minibatch_cells)
        last = state.history[-1] if state.history else {}
        return TrainRecord(
            n_cells=inputs.n_cells * (state.step - first_step) // n_batches,
            n_steps=state.step,
            most_steps=state.most_steps,
            stopped=state.step < state.most_steps,
            kept_neighbors=tuple(state.checks.kept),
            n_batches=n_batches,
            minibatch_cells=state.minibatch_cells,
            halvings=tuple(state.halvings),
            n_ranks=context.ranks.size,
            n_parameters=sum(p.numel() for p in state.learner.parameters()),
            device=str(state.device),
            losses={name: value for name, value in last.items() if name != "step"},
        )

    def join(self, context: Context) -> None:
        """Train on a rank that writes nothing, with rank 0, which has made the inputs."""
        _train(context, open_inputs(context, context.open(METHOD_INPUTS), context.config), None)

    def headline(self, record: TrainRecord) -> dict[str, Any]:
        """Return the last losses."""
        return {"losses": record.losses}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the loss history by term."""
        import pandas as pd

        history = pd.DataFrame(run.open(HISTORY))
        return AnnDataKeys(
            uns={
                "device": run.record(TrainStage).device,
                "history": {str(name): history[name].to_numpy() for name in history.columns},
            }
        )

    def section(self, run: OpenRun) -> Section:
        """Return the steps, and the losses over them."""
        from scrcl.report.figures import loss_curves

        record, history = run.record(TrainStage), run.open(HISTORY)
        text = f"{record.n_steps:,} steps"
        if record.stopped:
            text = (
                f"{record.n_steps:,} of at most {record.most_steps:,} steps: it ended early, once a subset of cells "
                f"had settled{_kept(record)}"
            )
        figures = (Figure(loss_curves(history), "Loss terms by step", "svg"),) if history else ()
        return Section(
            "Training",
            figures=figures,
            overview={"method": run.config.method, "training": text, "device": record.device},
            technical=True,
        )


def _kept(record: TrainRecord) -> str:
    """Return how much of a sample stayed the same between the last two checks, in brackets."""
    if not record.kept_neighbors:
        return ""
    share = record.kept_neighbors[-1]["kept"]
    return f" ({share:.0%} stayed the same from one check to the next)"


def trained_learner(outputs: Outputs, inputs: Any, config: RunConfig) -> Learner:
    """Return the learner of a finished stage ``train``, on the CPU in evaluation mode.

    Raises
    ------
    StoreError
        The weights are missing, damaged, or those of another version.
    """
    learner, weights = untrained(inputs, config), outputs.open(WEIGHTS)
    remedy = "Run again into a new folder, or with `restart=True` into this one."
    require_weights_of(learner, weights, outputs.folder.stage(TrainStage.name) / _WEIGHTS, remedy)
    learner.load_state_dict(weights)
    return learner.eval()


def _train(
    context: Context, inputs: Any, checkpoints: Checkpoints | None
) -> tuple[TrainState[Any], int]:
    """Train together with the other ranks. Returns the state, and the step at which it began."""
    import torch

    from scrcl.train.loop import train
    from scrcl.train.state import TrainState

    config, ranks, method = context.config, context.ranks, method_of(context.config)
    device = resolve_device(config.device, ranks.local)
    with deterministic(device), ranks.joined(device):
        setup = setup_of(config, device=device, ranks=ranks)
        state = TrainState.fresh(method, inputs, setup)
        saved = ranks.hand_out(checkpoints.latest() if checkpoints is not None else None)
        if saved is not None:
            kept = context.folder.checkpoints
            remedy = "Delete that folder and run the same command again: only training starts over."
            require_weights_of(state.learner, saved["learner"], kept, remedy)
            state.restore(saved)
            context.reporter.note(f"Resuming training at step {state.step} of {state.most_steps}.")
        first_step = state.step
        context.count("train", state.most_steps, "steps", done=first_step)
        try:
            train(
                method,
                inputs,
                state,
                setup,
                checkpoints=checkpoints,
                reporter=context.reporter,
                interruption=context.interruption,
            )
        except torch.OutOfMemoryError as error:  # a mini-batch that does not fit is halved
            message = (
                f"train.stop_cells must fit the memory of {device}; got {config.train.stop_cells} cells. "
                "Lower it, or set train.stop=never."
            )
            raise TrainingError(message) from error
    return state, first_step
