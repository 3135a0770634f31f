"""Settings of the final clustering, checked when made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from scrcl._settings import Settings, auto_or_whole
from scrcl.cluster.names import Method

if TYPE_CHECKING:
    from typing import Self

__all__ = ["REFINED_BY", "ClusterConfig"]

REFINED_BY = 12
"""Spots that labels are refined by: whole rings on a hexagonal lattice (6 + 6) and on a square one (4 + 4 + 4).
A layer two spots wide outlives it, and not 20 or 50 (bench/results/spatial/2026-11-21-2cpu-embedding.md)."""


Refining = Annotated[int | Literal["auto"], auto_or_whole("cluster.refine_labels", least=0)]


class ClusterConfig(Settings):
    """How cells are clustered; frozen, and an unknown name is an error."""

    method: Method = Field(
        "auto",
        description="Merge micro-clusters by damped average linkage or by Ward's cost (ward), k-means with K "
        "centroids (kmeans), communities at the resolution that gives K (leiden); auto: micro-clusters joined by "
        "communities where these agree, else, and with spatial, by linkage.",
    )
    also: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (), description="Further numbers of clusters, cut from the same tree where it has so many."
    )
    on: str = Field(
        "auto",
        description="Embedding that is clustered: one of those that the method writes (scrcl: embedding, graph_view, "
        "refined), or auto: the method's choice.",
    )
    agreement: float = Field(
        2 / 3,
        ge=0,
        le=1,
        description="With auto: how far linkage, communities of the embedding and those of the components must agree "
        "(mean adjusted Rand index) for communities to be taken.",
    )
    n_micro: int = Field(
        300,
        ge=2,
        description="Micro-clusters that auto, linkage and ward merge; three a cluster where that is more, and a "
        "quarter of the cells at most.",
    )
    restarts: int = Field(
        8,
        ge=1,
        description="Clusterings by linkage or ward, each from micro-clusters of its own, of which the labels are "
        "the consensus; half as many by communities of either graph in auto; 1: the first.",
    )
    n_init: int = Field(10, ge=1, description="Runs of kmeans, of which the best is kept.")
    spherical: bool = Field(
        False, description="With kmeans: cluster directions, whatever the length of rows."
    )
    size_power: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Weight of sizes in linkage: 0 average linkage, 1 the size term of Ward.",
    )
    smallest_cells: int = Field(
        5,
        ge=1,
        description="Smallest cluster that is left, but by kmeans, where the tree allows it.",
    )
    resolution: float = Field(
        0.5, gt=0, description="Leiden resolution behind `n_clusters = auto`."
    )
    smallest_share: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Smallest share of cells that counts as a cluster in `auto`; less where clusters are many.",
    )
    auto_cells: int = Field(
        20_000,
        ge=100,
        description="Cells, drawn uniformly, whose communities `auto` counts, and auto and leiden take.",
    )
    refine_labels: Refining = Field(
        "auto",
        description="With spatial: nearest spots of the slice whose most frequent cluster a spot takes in the "
        f"end; 0: spots keep theirs; auto: {REFINED_BY} with spatial.",
    )

    def check_with(self, run: Any) -> None:
        """Refuse smoothing without coordinates."""
        if self.refine_labels not in ("auto", 0) and not run.spatial:
            message = (
                f"cluster.refine_labels must go with spatial; got {self.refine_labels} without it. "
                "Add --spatial, or leave it out."
            )
            raise ValueError(message)

    def n_groups(self, n_cells: int, n_clusters: int) -> int:
        """Micro-clusters of so many cells: a quarter of these at most; smaller ones say nothing of their spread."""
        asked = max(self.n_micro, 3 * n_clusters)
        return max(min(asked, n_cells // 4), n_clusters)

    def most_groups(self, n_cells: int, n_clusters: int) -> int:
        """Micro-clusters of the largest of all clusterings: a cut of more than there are is made anew."""
        groups = self.n_groups(n_cells, n_clusters)
        return max([groups, *(self.n_groups(n_cells, k) for k in self.also if k > groups)])

    def smallest_of(self, n_sample: int, n_cells: int) -> int:
        """Cells of the smallest cluster in a sample of so many, one at least."""
        return max(self.smallest_cells * n_sample // n_cells, 1)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.spherical and self.method != "kmeans":
            message = (
                f"cluster.spherical must go with cluster.method = kmeans; got {self.method}. "
                "Leave it out, or take kmeans."
            )
            raise ValueError(message)
        if len(set(self.also)) < len(self.also):
            message = f"cluster.also must name each number once; got {list(self.also)}. Leave repeats out."
            raise ValueError(message)
        return self
