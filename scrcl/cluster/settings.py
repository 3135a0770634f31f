"""Settings of the stage ``cluster``, checked when made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from scrcl._settings import Settings, auto_or_whole, option
from scrcl.cluster.names import Algorithm

if TYPE_CHECKING:
    from typing import Self

__all__ = ["SMOOTHING_CELLS", "ClusterSettings"]

# Whole rings around a cell, on a hexagonal lattice (6 + 6) and on a square one (4 + 4 + 4). A layer of a tissue that is
# two cells wide survives it; with 20 or 50 cells it does not: bench/results/spatial/2026-11-21-2cpu-embedding.md.
SMOOTHING_CELLS = 12
"""Nearest cells that smooth labels, unless the number is given."""

Smoothing = Annotated[int | Literal["auto"], auto_or_whole("cluster.refine_labels", least=0)]


class ClusterSettings(Settings):
    """How cells are clustered."""

    algorithm: Algorithm = option(
        "vote",
        "--algorithm",
        panel="Clusters",
        description="Clustering algorithm. vote: communities that several scalings agree on; linkage, ward: merged "
        "micro-clusters; mixture: Gaussians of one covariance. auto: communities if these agree, else linkage. For "
        "domains, vote and auto are mixture.",
    )
    also: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (), description="Other numbers of clusters, cut from the same tree if it has as many parts."
    )
    on: str = Field(
        "auto",
        description="Embedding that is clustered: one that the method writes (scrcl: embedding, graph_view, refined), "
        "or auto: the method's choice; with spatial, averages of the components over the tissue, without training.",
    )
    n_neighbors: int | None = Field(
        None,
        ge=1,
        description="Neighbours in the graphs that count and join clusters; unset: graph.n_neighbors, and in vote at "
        "most half the square root of the number of cells, but at least 5.",
    )
    agreement: float = Field(
        2 / 3,
        ge=0,
        le=1,
        description="auto: smallest agreement (mean adjusted Rand index) of linkage, communities of the embedding and "
        "communities of the components at which communities join the micro-clusters.",
    )
    n_micro: int = Field(
        300,
        ge=2,
        description="Micro-clusters of auto, linkage and ward. At least three for each cluster, and at most one for "
        "every four cells.",
    )
    restarts: int = Field(
        8,
        ge=1,
        description="linkage and ward: number of clusterings, each from other micro-clusters, that form a consensus. "
        "1: only the first. auto also uses half as many for the communities of each graph.",
    )
    starts: int = Field(
        20,
        ge=1,
        description="mixture: starts. From the most likely ones components are joined and halved as long as the "
        "likelihood gains.",
    )
    n_init: int = Field(10, ge=1, description="kmeans: runs, of which the best is kept.")
    spherical: bool = Field(False, description="kmeans: cluster directions; lengths are ignored.")
    size_power: float = Field(
        0.5,
        ge=0,
        le=1,
        description="linkage: weight of sizes; 0 for average linkage, 1 for the size term of Ward.",
    )
    smallest_cells: int = Field(
        5,
        ge=1,
        description="Smallest cluster, if the tree allows it; kmeans ignores it.",
    )
    resolution: float = Field(
        0.5, gt=0, description="Leiden resolution that counts the clusters if n_clusters is auto."
    )
    smallest_share: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Smallest share of cells that counts as a cluster if n_clusters is auto; less if there are many "
        "clusters.",
    )
    least_support: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Smallest depth of the valley between two clusters, as a share of the density in the sparser one. "
        "vote, and others if n_clusters is auto, merge clusters that no such valley parts; there may be one in the "
        "end. In vote it counts for no more than partitions keep both apart: 0.5 where one pair of cells in ten is "
        "together. For clusters of a few cells other pairs count too. 0: only clusters of a few cells are merged. "
        "After a correction for batches, vote also measures valleys within each batch. Not used with spatial.",
    )
    rare_cells: int = Field(
        5,
        ge=0,
        description="vote: cells of the smallest rare type. Groups of a few cells that no community shows become "
        "clusters if most graphs agree on them and they lie apart. 0: none are looked for.",
    )
    divide_cells: int = Field(
        300,
        ge=0,
        description="vote: clusters of so many voting cells and more are divided once more where valleys part them in "
        "components of their own cells; not after a correction for batches. 0: none are.",
    )
    vote_cells: int = Field(
        10_000,
        ge=100,
        description="vote: size of the random subset of cells that it clusters; others get the nearest micro-cluster.",
    )
    auto_cells: int = Field(
        20_000,
        ge=100,
        description="Size of the random subset of cells in which communities are found.",
    )
    refine_labels: Smoothing = Field(
        "auto",
        description="With spatial: number of nearest cells in the sample whose most frequent cluster a cell takes in "
        f"the end. 0: labels are not smoothed. auto: {SMOOTHING_CELLS} with spatial.",
    )

    def check_with(self, run: Any) -> None:
        """Refuse smoothing without coordinates."""
        if self.refine_labels not in ("auto", 0) and not run.spatial:
            message = (
                f"cluster.refine_labels must go with spatial; got {self.refine_labels} without it. "
                "Add `spatial=True`, or leave it out."
            )
            raise ValueError(message)

    def n_micro_clusters(self, n_cells: int, n_clusters: int) -> int:
        """Return the number of micro-clusters for a number of cells.

        At most a quarter of the cells: the spread of fewer than four cells is no estimate.
        """
        asked = max(self.n_micro, 3 * n_clusters)
        return max(min(asked, n_cells // 4), n_clusters)

    def most_micro_clusters(self, n_cells: int, n_clusters: int) -> int:
        """Return the largest number of micro-clusters of any clustering, with those that extra cuts need."""
        n_micro = self.n_micro_clusters(n_cells, n_clusters)
        # An extra cut into more parts than there are micro-clusters is a clustering of its own.
        return max(
            [n_micro, *(self.n_micro_clusters(n_cells, k) for k in self.also if k > n_micro)]
        )

    def smallest_in_subset(self, n_subset: int, n_cells: int) -> int:
        """Return the size of the smallest cluster in a random subset of the cells; at least 1."""
        return max(self.smallest_cells * n_subset // n_cells, 1)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.spherical and self.algorithm != "kmeans":
            message = (
                f"cluster.spherical must go with cluster.algorithm = kmeans; got {self.algorithm}. "
                "Leave it out, or set cluster.algorithm = kmeans."
            )
            raise ValueError(message)
        if len(set(self.also)) < len(self.also):
            message = (
                f"cluster.also must have each number once; got {list(self.also)}. Remove repeats."
            )
            raise ValueError(message)
        return self
