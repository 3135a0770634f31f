"""Stage ``train``: fit the method's model, from the last checkpoint or from the start."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

from scrcl._atomic import write_json
from scrcl._contract import Artifact, Estimate
from scrcl.engine.device import deterministic, resolve_device
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.inputs import INPUTS, open_inputs
from scrcl.errors import StoreError, TrainingError
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Opener, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.state import TrainState

__all__ = ["HISTORY", "WEIGHTS", "TrainRecord", "TrainStage", "trained_model"]

_WEIGHTS, _HISTORY = "model.pt", "history.json"


def _load_weights(folder: Path) -> dict[str, Any]:
    import torch

    try:
        weights: dict[str, Any] = torch.load(
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


WEIGHTS: Artifact[dict[str, Any]] = Artifact("trained weights", _load_weights)
"""State of the trained learner, by name."""

HISTORY: Artifact[list[dict[str, float]]] = Artifact("loss history", _load_history)
"""One dict for each step: its number, the weighted loss terms and the length of the gradient."""


class TrainRecord(Record):
    """How training went."""

    n_steps: int
    most_steps: int
    stopped: bool
    kept_neighbors: tuple[dict[str, float], ...]
    n_batches: int
    batch_cells: int
    halvings: tuple[dict[str, int], ...]
    n_ranks: int
    n_parameters: int
    device: str
    losses: dict[str, float]


class TrainStage(Stage[TrainRecord]):
    """Trains, and writes the weights and the loss history."""

    name = "train"
    record = TrainRecord
    takes = (INPUTS,)
    gives = (WEIGHTS, HISTORY)
    joins_ranks: ClassVar[bool] = True
    advice: ClassVar[str] = "lower train.batch_cells, train.fanout or train.n_negatives"

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        return train_estimate(shape, config)

    def run(self, context: Context, folder: Path) -> TrainRecord:
        """Train from the last checkpoint, or from the start."""
        import torch

        from scrcl.train.checkpoint import Checkpoints
        from scrcl.train.schedule import schedule_of

        inputs = open_inputs(context)
        context.ranks.call()
        checkpoints = Checkpoints(
            context.folder.checkpoints,
            context.folder.manifest["fingerprint"],
            reporter=context.reporter,
        )
        state, first_step = _train(context, inputs, checkpoints)
        torch.save(state.model.state_dict(), folder / _WEIGHTS)
        write_json(folder / _HISTORY, state.history)
        n_batches = -(-inputs.graph.n // state.batch_cells)
        most_steps = schedule_of(context.config.train, inputs.graph.n).n_steps
        return TrainRecord(
            n_cells=inputs.graph.n * (state.step - first_step) // n_batches,
            n_steps=state.step,
            most_steps=most_steps,
            stopped=state.step < most_steps,
            kept_neighbors=tuple(state.looks.kept),
            n_batches=n_batches,
            batch_cells=state.batch_cells,
            halvings=tuple(state.halvings),
            n_ranks=context.ranks.size,
            n_parameters=sum(p.numel() for p in state.model.parameters()),
            device=str(state.device),
            losses={k: v for k, v in state.history[-1].items() if k != "step"}
            if state.history
            else {},
        )

    def join(self, context: Context) -> None:
        """Train on a rank that writes nothing, with rank 0, which has made the inputs."""
        _train(context, open_inputs(context), None)

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
        from scrcl.report.page import Figure

        record, history = run.record(TrainStage), run.open(HISTORY)
        text = f"{record.n_steps:,} steps"
        if record.stopped:
            text = (
                f"{record.n_steps:,} of at most {record.most_steps:,} steps; then the nearest cells of cells "
                "no longer changed"
            )
        figures = (Figure(loss_curves(history), "Loss terms by step", "svg"),) if history else ()
        return Section(
            "Training",
            figures=figures,
            overview={"training": text, "device": record.device},
        )


def trained_model(opener: Opener, config: RunConfig) -> ScRCL:
    from scrcl.train.state import TrainState

    inputs = open_inputs(opener)
    model = TrainState.fresh(inputs, config.train, seed=config.seed).model
    model.load_state_dict(opener.open(WEIGHTS))
    return model


def _train(
    context: Context, inputs: Inputs, checkpoints: Checkpoints | None
) -> tuple[TrainState, int]:
    import torch

    from scrcl.train.loop import train
    from scrcl.train.methods.scrcl.minibatch import BatchSource
    from scrcl.train.schedule import schedule_of
    from scrcl.train.state import TrainState
    from scrcl.train.stop import Stop

    config, seed, ranks = context.config.train, context.config.seed, context.ranks
    device = resolve_device(context.config.device, ranks.local)
    with deterministic(device), ranks.joined(device):
        state = TrainState.fresh(inputs, config, seed=seed, device=device)
        saved = ranks.hand_out(checkpoints.latest() if checkpoints is not None else None)
        n_steps = schedule_of(config, inputs.graph.n).n_steps
        if saved is not None:
            state.restore(saved)
            context.reporter.note(f"Resuming training at step {state.step} of {n_steps}.")
        first_step = state.step
        context.count("train", n_steps, "steps")(first_step)
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
                reporter=context.reporter,
                ranks=ranks,
                interruption=context.interruption,
            )
        except torch.OutOfMemoryError as error:  # one of a batch is met by a smaller batch
            message = (
                f"train.stop_cells must fit the memory of {device}; got {config.stop_cells} cells. "
                "Lower it, or set train.stop=never."
            )
            raise TrainingError(message) from error
    return state, first_step


def train_estimate(shape: Shape, config: RunConfig) -> Estimate:
    import math

    n, train = shape.n_cells, config.train
    n_features = shape.n_genes if train.features == "hvg" else shape.n_comps
    edges = 1.4 * shape.n_neighbors

    def anchors(n_seeds: int, n_neighbors: float) -> float:
        drawn = min(n_seeds, n) * (1 + n_neighbors)
        return n * -math.expm1(-drawn / n)

    n_drawn = train.n_negatives if train.negatives == "sampled" else 0
    stop_cells = train.stop_cells if train.stop == "auto" else 0
    found = edges if train.fanout is None else min(edges, train.fanout)
    sizes = (train.batch_cells, n_drawn)
    seeds = sum(min(size, n) for size in sizes)
    n_anchors = sum(anchors(size, found) for size in sizes)
    pairs = seeds * found * 90
    embedded = seeds + min(8_192, n_anchors)
    read = 4 * (n_anchors * 8 * n_features + pairs)
    sample = min(stop_cells, n)
    sampled = sample + anchors(sample, edges)
    read += sampled * 4 * n_features
    step = int(read + embedded * 4 * 16 * train.dim)
    kept = 1 << 29
    return Estimate(
        LIBRARIES_BYTES
        + int(n * 40)
        + 2 * min(4 * n * n_features, kept)
        + int(min(4 * n * edges, kept)),
        step,
        disk_bytes=int(n * (12 * n_features + 4 * edges + 16)),
        read_bytes=16 * n * n_features,
        seconds=20 + 1.7e-4 * n,
    )
