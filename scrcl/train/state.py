"""All that training changes, and so all that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from scrcl._random import torch_stream
from scrcl.train.methods.scrcl.model import ScRCL
from scrcl.train.methods.scrcl.moments import Moments
from scrcl.train.stop import Looks

if TYPE_CHECKING:
    from scrcl.train.config import TrainConfig
    from scrcl.train.methods.scrcl.minibatch import Inputs

__all__ = ["TrainState"]


@dataclass
class TrainState:
    """The model and where its training stands.

    Attributes
    ----------
    model, optimizer, moments
        Changed in place by `scrcl.train.loop.train`.
    seed
        The run's seed; dropout of step n is drawn from (seed, n).
    step
        Steps finished.
    history
        One dict a finished step: its number, the weighted loss terms and the gradient's length.
    batch_cells
        Most seed cells in a batch: ``config.batch_cells``, or less where the device had no room.
    halvings
        For each time that batches were halved, the step after which, and their size since.
    looks
        What has been seen of the sample that tells when to stop.
    """

    model: ScRCL
    optimizer: torch.optim.Optimizer
    moments: Moments
    seed: int
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    batch_cells: int = 0
    halvings: list[dict[str, int]] = field(default_factory=list)
    looks: Looks = field(default_factory=Looks)

    @classmethod
    def fresh(
        cls, inputs: Inputs, config: TrainConfig, *, seed: int, device: str | torch.device = "cpu"
    ) -> TrainState:
        """Return the state before the first step; initial weights depend on the seed alone."""
        model = ScRCL(
            inputs.x.shape[1],
            inputs.genes.shape[1],
            len(inputs.genes),
            config=config,
            generator=torch_stream(seed, "train.model"),
        ).to(device)
        optimizer = torch.optim.Adam(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        return cls(
            model,
            optimizer,
            Moments(config.moments_decay),
            seed,
            batch_cells=min(config.batch_cells, inputs.graph.n),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.W.device

    def snapshot(self) -> dict[str, Any]:
        """Return everything as plain values and tensors (not copies)."""
        return {
            "step": self.step,
            "seed": self.seed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "moments": self.moments.state_dict(),
            "history": self.history,
            "batch_cells": self.batch_cells,
            "halvings": self.halvings,
            "looks": self.looks.state_dict(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Take over what `snapshot` returned."""
        self.model.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.moments.load_state_dict(snapshot["moments"], self.device)
        self.step, self.seed = snapshot["step"], snapshot["seed"]
        self.history = list(snapshot["history"])
        self.batch_cells = snapshot["batch_cells"]
        self.halvings = list(snapshot["halvings"])
        self.looks.load_state_dict(snapshot["looks"])
