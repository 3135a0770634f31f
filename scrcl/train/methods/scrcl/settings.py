"""Settings of scRCL, checked when created. Light to import: no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scrcl._settings import Settings

__all__ = ["ScrclSettings"]


class ScrclSettings(Settings):
    """Inputs, encoders and losses of scRCL. Frozen; an unknown name is an error."""

    features: Literal["pca", "hvg", "counts"] = Field(
        default="pca",
        description="Input of the encoders: principal component scores (pca), log values of the "
        "selected genes (hvg), or their counts.",
    )
    smoothing_mlp: int = Field(
        default=0,
        ge=0,
        description="Number of times the MLP view's input is smoothed over the cell graph before "
        "training.",
    )
    smoothing_gcn: int = Field(
        default=0,
        ge=0,
        description="Number of times the GCN view's input is smoothed before training, besides the "
        "encoder's own two layers.",
    )
    row_normalize: bool = Field(
        default=False,
        description="Scale each cell's input row to the same length. Otherwise one factor scales all "
        "values.",
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
        description="Number of negatives that a cell's non-neighbours count as in L_CVC. With as many "
        "as there are non-neighbours, L_CVC is the paper's Eq. 9.",
    )
    negatives: Literal["moments", "sampled", "batch"] = Field(
        default="moments",
        description="Source of the means over all cells in a mini-batch: running moments, cells "
        "drawn from all cells (sampled), or the mini-batch itself (batch). Has no effect if a "
        "mini-batch holds every cell.",
    )
    n_negatives: int = Field(
        default=4096, ge=1, description="Cells drawn in each step if `negatives` is sampled."
    )
    moments_decay: float = Field(
        default=0.9, ge=0, lt=1, description="Share of the running moments that a step keeps."
    )
