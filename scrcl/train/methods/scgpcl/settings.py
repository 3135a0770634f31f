"""Settings of scGPCL, checked when created. Light to import: no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from scrcl._settings import Settings, auto_or_whole

__all__ = ["ScgpclSettings"]

Clusters = Annotated[int | Literal["auto"], auto_or_whole("scgpcl.n_clusters", least=2)]


def _present_word(value: object) -> object:
    """Return ``subset`` for ``sample``, as it is called in folders of earlier versions."""
    return "subset" if value == "sample" else value


Prototypes = Annotated[Literal["minibatch", "subset"], BeforeValidator(_present_word)]


class ScgpclSettings(Settings):
    """Graph, encoder, losses and phases of scGPCL. Frozen; an unknown name is an error."""

    n_clusters: Clusters = Field(
        default="auto",
        description="Number of clusters that training draws cells to; auto: as many as there are communities "
        "in the component scores. The clusters of the result have a number of their own: `n_clusters` of the run.",
    )
    reconstruction: Literal["zinb", "mse"] = Field(
        default="zinb",
        description="What the decoder is scored by: counts under a zero-inflated negative binomial "
        "distribution (zinb), or squared errors of scaled log values (mse).",
    )
    reconstructed_genes: int = Field(
        default=512,
        ge=1,
        description="Genes that the decoder is scored by in a step; they are drawn in every step.",
    )
    dim: int = Field(default=64, ge=1, description="Width of the embedding.")
    hidden_dim: int = Field(default=256, ge=1, description="Width of the hidden layers.")
    gene_dim: int = Field(default=64, ge=1, description="Width of the learned table of genes.")
    context_cells: int = Field(
        default=256,
        ge=1,
        description="Largest number of cells that genes are updated from in a view.",
    )
    cells_per_gene: int = Field(
        default=256,
        ge=1,
        description="Largest number of cells that are kept for each gene. The cells that genes are updated from "
        "in a view are drawn from them.",
    )
    one_length: bool = Field(
        default=False,
        description="Scale embedded cells to one length. The contrasts see only directions; prototypes, "
        "fine-tuning and final clusters see lengths too unless this is true.",
    )
    mask: float = Field(
        default=0.2, ge=0, lt=1, description="Share of feature columns that a view leaves out."
    )
    temperature: float = Field(
        default=0.25, ge=0.02, description="Divides cosines in both contrastive losses (tau)."
    )
    contrast_weight: float = Field(
        default=1.0, ge=0, description="Weight of the contrast between views (lambda 1)."
    )
    prototype_weight: float = Field(
        default=0.05, ge=0, description="Weight of the contrast with prototypes (lambda 2)."
    )
    cluster_weight: float = Field(
        default=1.0, ge=0, description="Weight of the clusters in fine-tuning (lambda 3)."
    )
    warmup_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the steps of pre-training before there are prototypes.",
    )
    finetune_share: float = Field(
        default=0.25, ge=0, lt=1, description="Share of all steps that fine-tuning takes."
    )
    prototypes: Prototypes = Field(
        default="minibatch",
        description="Cells that k-means finds prototypes in: those of each mini-batch, as the paper has it; or "
        "(subset) those of a random subset, every `refresh_every` steps.",
    )
    refresh_every: int = Field(
        default=20,
        ge=1,
        description="Steps between updates of what is taken from a random subset: sizes of clusters in fine-tuning, "
        "and prototypes with `prototypes=subset`.",
    )
    subset_cells: int = Field(
        default=20_000,
        ge=100,
        validation_alias=AliasChoices("subset_cells", "sample_cells"),
        description="Largest number of cells in that subset.",
    )
    agreement: float = Field(
        default=0.99,
        ge=0,
        le=1,
        description="Pre-training ends once two successive clusterings of a subset have at least this adjusted "
        "Rand index.",
    )
    changed: float = Field(
        default=0.001,
        ge=0,
        le=1,
        description="Fine-tuning ends once a smaller share of a subset changes its cluster.",
    )

    def check_with(self, run: Any) -> None:
        """Refuse a sampler that has no cells to number."""
        if run.train.sampler == "torch-sparse":
            message = (
                "train.sampler must be auto or native with this method, which numbers no cells; got "
                "'torch-sparse'. Leave it out."
            )
            raise ValueError(message)
