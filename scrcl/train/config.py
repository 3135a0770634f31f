"""Settings of training, checked when made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from scrcl._settings import Settings, auto_or_whole

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TrainConfig"]

Steps = Annotated[int | Literal["auto"], auto_or_whole("train.steps", least=0, most=10**9)]


class TrainConfig(Settings):
    """How the model is built and trained; frozen, and an unknown name is an error."""

    features: Literal["pca", "hvg"] = Field(
        default="pca",
        description="What the encoders read: principal component scores, or the selected genes' "
        "log values. Read by the stage that writes the views.",
    )
    smoothing_mlp: int = Field(
        default=0,
        ge=0,
        description="Times the MLP view's input is smoothed over the cell graph before training. "
        "Read by the stage that writes the views.",
    )
    smoothing_gcn: int = Field(
        default=0,
        ge=0,
        description="Times the GCN view's input is smoothed before training, beside the encoder's "
        "own two layers. Read by the stage that writes the views.",
    )
    row_normalize: bool = Field(
        default=False,
        description="Scale each cell's input row to one length, where otherwise one factor scales "
        "all values. Read by the stage that writes the views.",
    )

    dim: int = Field(
        default=128, ge=1, description="Width of each view's embedding E (the paper's d)."
    )
    refined_dim: int = Field(
        default=32, ge=1, description="Width of each view's refined embedding Z (the paper's c)."
    )
    leaky_slope: float = Field(
        default=0.2, ge=0, le=1, description="Slope of LeakyReLU below zero."
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of entries dropped before the GCN's last layer and before refinement.",
    )

    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Of the encoders' matrix products in training; everything else, inference too, is "
        "float32. bfloat16 pays where the processor has instructions for it.",
    )

    steps: Steps = Field(
        default="auto",
        description="Most optimizer steps; auto: one epoch, but 100 at least and 1,000 at most.",
    )
    batch_cells: int = Field(
        default=4096,
        ge=16,
        description="Most seed cells in a batch; at or above the number of cells, every step is "
        "full-batch.",
    )
    batches: Literal["uniform", "partitions"] = Field(
        default="uniform",
        description="Cells of a mini-batch: drawn from everywhere, or pieces of lists of near cells, "
        "from many places at once, which fetch fewer neighbours beside them.",
    )
    piece_cells: int = Field(
        default=128,
        ge=1,
        description="Most cells of a piece where `batches` is 'partitions': a batch joins "
        "batch_cells / piece_cells of them. Larger pieces fetch less, and their means stray further "
        "from those of all cells, unless `negatives` is 'sampled'.",
    )
    fanout: int | None = Field(
        default=None,
        ge=1,
        description="Most neighbours drawn for a seed cell, reweighted so that sums stay unbiased; "
        "none: all of them.",
    )
    sampler: Literal["auto", "native", "torch-sparse"] = Field(
        default="auto",
        description="What numbers the cells of a batch: compiled code (auto: it is the faster), or "
        "torch-sparse where installed. Batches are the same to the last bit.",
    )
    lr: float = Field(default=3e-3, gt=0, description="Adam's learning rate after warm-up.")
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps over which the learning rate rises."
    )
    decay_steps: int = Field(
        default=0,
        ge=0,
        description="Last steps, over which the learning rate falls to zero; they need `stop` never.",
    )
    stop: Literal["auto", "never"] = Field(
        default="auto",
        description="Whether training ends before its last step once neighbours of a sample of cells "
        "stand still. No labels are seen.",
    )
    stop_every: int = Field(default=10, ge=1, description="Steps between looks at that sample.")
    stop_cells: int = Field(default=2000, ge=16, description="Cells of the sample, at most.")
    patience: int = Field(
        default=4,
        ge=1,
        description="Looks over which the share of kept neighbours must have risen for training to go on.",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Adam's L2 penalty on the weights.")
    max_grad_norm: float = Field(
        default=100.0, gt=0, description="Longest gradient; a longer one is scaled down to it."
    )

    temperature: float = Field(
        default=1.0,
        ge=0.02,
        description="Divides the unit-length embeddings before each softmax (t).",
    )
    hea_cell_weight: float = Field(
        default=0.5, ge=0, description="Weight of L_HEA's cell term, a mean over cells (Eq. 3)."
    )
    alpha: float = Field(default=10.0, ge=0, description="Weight of L_NDC (Eq. 10).")
    beta: float = Field(default=1e-3, ge=0, description="Weight of L_CVC (Eq. 10).")
    cvc_negatives: int = Field(
        default=4096,
        ge=1,
        description="Negatives that a cell's non-neighbours weigh as much as in L_CVC; at or above "
        "their number, L_CVC is the paper's Eq. 9.",
    )
    negatives: Literal["moments", "sampled", "batch"] = Field(
        default="moments",
        description="Where mini-batches take the means over all cells from: running moments, cells "
        "drawn from the whole atlas, or the batch. A batch of every cell needs none of them.",
    )
    n_negatives: int = Field(
        default=4096, ge=1, description="Cells drawn a step where `negatives` is 'sampled'."
    )
    moments_decay: float = Field(
        default=0.9, ge=0, lt=1, description="Share of the running moments that a step keeps."
    )

    checkpoint_every: int = Field(default=50, ge=1, description="Steps between checkpoints.")
    report_every: int = Field(
        default=10, ge=1, description="Steps between reports, which also check that all is finite."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a setting that another one leaves without meaning."""
        if self.decay_steps and self.stop != "never":
            message = (
                f"train.decay_steps must go with train.stop = never; got {self.decay_steps} steps and "
                f"{self.stop!r}. A run that stops before its last steps never comes to them."
            )
            raise ValueError(message)
        return self
