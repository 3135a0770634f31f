"""Settings of training that every method shares, checked when created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from scrcl._settings import Settings, auto_or_whole

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TrainSettings"]

Steps = Annotated[int | Literal["auto"], auto_or_whole("train.steps", least=0, most=10**9)]


class TrainSettings(Settings):
    """How a model is trained, whatever the method. Frozen; an unknown name is an error."""

    steps: Steps = Field(
        default="auto",
        description="Largest number of optimizer steps; auto: one epoch, but at least 100 and at "
        "most 1,000.",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="Passes over all cells in place of `steps`, which must be auto then; unset: `steps` decides.",
    )
    minibatch_cells: int = Field(
        default=4096,
        ge=16,
        description="Largest number of seed cells in a mini-batch. With as many as there are cells, "
        "every step uses all cells.",
    )
    minibatches: Literal["uniform", "partitions"] = Field(
        default="uniform",
        description="Seed cells of a mini-batch: drawn at random from all cells (uniform), or joined "
        "from pieces of similar cells (partitions), which have fewer neighbours outside.",
    )
    piece_cells: int = Field(
        default=128,
        ge=1,
        description="Largest number of cells in a piece if `minibatches` is partitions. Larger pieces "
        "read fewer neighbours, but their means differ more from those of all cells.",
    )
    fanout: int | None = Field(
        default=None,
        ge=1,
        description="Largest number of neighbours drawn for a seed cell, with weights that keep sums "
        "unbiased; unset: all neighbours.",
    )
    sampler: Literal["auto", "native", "torch-sparse"] = Field(
        default="auto",
        description="Code that numbers the cells of a mini-batch: compiled (auto and native), or "
        "torch-sparse. The mini-batches are the same bit for bit.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of matrix products in training. All else, inference too, is float32. "
        "bfloat16 helps if the processor has instructions for it.",
    )
    lr: float = Field(default=3e-3, gt=0, description="Learning rate after the warm-up.")
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps over which the learning rate rises."
    )
    decay_steps: int = Field(
        default=0,
        ge=0,
        description="Last steps, over which the learning rate falls to zero; needs `stop` = never.",
    )
    stop: Literal["auto", "never"] = Field(
        default="auto",
        description="End training early once the cells of a random subset keep their nearest cells "
        "(auto), or never. No labels are used.",
    )
    stop_every: int = Field(default=10, ge=1, description="Steps between stability checks.")
    stop_cells: int = Field(
        default=2000, ge=16, description="Largest number of cells in the subset that is checked."
    )
    patience: int = Field(
        default=4,
        ge=1,
        description="Stability checks without a rise in the share of kept neighbours before "
        "training ends.",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty on the weights.")
    max_grad_norm: float = Field(
        default=100.0, gt=0, description="Largest gradient norm; longer gradients are scaled down."
    )
    checkpoint_every: int = Field(default=50, ge=1, description="Steps between checkpoints.")
    report_every: int = Field(
        default=10,
        ge=1,
        description="Steps between reports, which also check that all values are finite.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a setting that has no effect next to another one."""
        if self.epochs is not None and self.steps != "auto":
            message = (
                f"train.steps must be auto with train.epochs; got {self.steps} steps and {self.epochs} epochs. "
                "Leave out train.steps, and set train.epochs to shorten or lengthen the training (presets have it)."
            )
            raise ValueError(message)
        if self.decay_steps and self.stop != "never":
            message = (
                f"train.decay_steps must be 0 unless train.stop = never; got {self.decay_steps} and "
                f"{self.stop!r}. A run that stops early never reaches its last steps."
            )
            raise ValueError(message)
        return self
