"""Everything a run can be told, checked when it is made.

`RunConfig` composes the settings of the stages; a TOML file, ``--set`` and keyword arguments all end
here (`scrcl.engine.load_config`). Three settings say where to compute and not what (``memory``, ``device``,
``train.sampler``): they are no part of a run's fingerprint, so a run may be resumed with others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from scrcl._settings import Settings, auto_or_whole
from scrcl._sizes import parse_bytes
from scrcl.cluster.settings import REFINED_BY, ClusterConfig
from scrcl.graph.names import APPROXIMATE, BACKENDS_HELP, Backend, recall_of_one_message
from scrcl.train.config import TrainConfig

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "FeaturesConfig",
    "GenesConfig",
    "GraphConfig",
    "ReduceConfig",
    "ReportConfig",
    "RunConfig",
]


class FeaturesConfig(Settings):
    """Which cells and genes are kept."""

    n_top_genes: int = Field(2000, ge=2, description="Highly variable genes kept.")
    flavor: Literal["seurat", "cell_ranger", "seurat_v3"] = Field(
        "seurat", description="How they are chosen, as by scanpy; seurat_v3 reads counts once more."
    )
    min_genes: int = Field(0, ge=0, description="Fewest genes of a cell that is kept.")
    max_counts: float | None = Field(
        None, gt=0, description="Largest sum of values of a cell that is kept."
    )
    max_mito: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Largest share of mitochondrial counts of a kept cell, 0 to 1.",
    )
    mito_prefix: str = Field(
        "MT-", min_length=1, description="How names of mitochondrial genes begin, in any case."
    )
    min_cells: int = Field(
        1, ge=1, description="Fewest kept cells that a gene must be in to be chosen."
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="How the log values of the chosen genes are stored."
    )


class ReduceConfig(Settings):
    """The principal components."""

    n_comps: int = Field(
        100, ge=2, description="Principal components kept, fewer where data has fewer."
    )
    solver: Literal["auto", "gram", "randomized"] = Field(
        "auto",
        description="From the genes' Gram matrix, or by randomised SVD where many genes are kept.",
    )


class GraphConfig(Settings):
    """The cell graph."""

    n_neighbors: int = Field(15, ge=1, description="Nearest neighbours of a cell.")
    backend: Backend = Field("auto", description=BACKENDS_HELP)
    recall: float = Field(
        0.95, gt=0, le=1, description="Recall that an approximate search must reach on a sample."
    )
    radius: float | None = Field(
        None,
        gt=0,
        description="With spatial: largest distance of a neighbour, in units of the coordinates.",
    )
    balanced: bool = Field(
        False,
        description="Take the neighbours of a cell in equal numbers from every batch of batch_key.",
    )
    symmetry: Literal["union", "mutual"] = Field(
        "union", description="Join two cells where either names the other, or where both do."
    )


class GenesConfig(Settings):
    """The gene graph."""

    n_neighbors: int = Field(5, ge=1, description="Nearest neighbours of a gene.")
    metric: Literal["euclidean", "cosine", "correlation"] = Field(
        "euclidean", description="How genes are compared, as columns of cells by genes."
    )
    source: Literal["sketch", "gram"] = Field(
        "sketch",
        description="On the gene sketch (loadings times singular values), or from all cells by the "
        "genes' Gram matrix.",
    )


class ReportConfig(Settings):
    """What the report shows."""

    umap_cells: int = Field(
        5000, ge=0, description="Cells drawn (and laid out) in the UMAP picture."
    )
    n_markers: int = Field(10, ge=1, description="Marker genes kept for each cluster.")


def _device(value: object) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return str(value)
    message = f"device must be auto, cpu, cuda or cuda:N; got {value!r}."
    raise ValueError(message)


def _require_storable(settings: BaseModel, group: str = "") -> None:
    """Refuse whole numbers that the settings in the result (HDF5, int64) have no room for."""
    for name, value in settings:
        if isinstance(value, BaseModel):
            _require_storable(value, f"{group}{name}.")
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number >= 2**63:
                message = f"{group}{name} must be below 2^63; got {number}."
                raise ValueError(message)


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Clusters = Annotated[int | Literal["auto"], auto_or_whole("n_clusters", least=2)]
Device = Annotated[str, BeforeValidator(_device)]


class RunConfig(Settings):
    """All settings of a run.

    Examples
    --------
    >>> RunConfig(n_clusters=8, train={"lr": 5e-4}).train.lr
    0.0005
    """

    n_clusters: Clusters = Field("auto", description="Number of clusters, or `auto`.")
    seed: int = Field(0, ge=0, lt=2**63, description="Every random stream derives from it.")
    memory: Bytes = Field(
        4 * 10**9, gt=0, validate_default=True, description="Peak resident memory the run may take."
    )
    device: Device = Field("auto", description="auto, cpu, cuda or cuda:N.")
    layer: str | None = Field(None, description="Layer to read; `raw` for raw.X; None for X.")
    join: Literal["inner", "outer"] = Field(
        "inner", description="Genes of several inputs: those that all have, or that any has."
    )
    batch_key: str | None = Field(
        None, description="Column of obs by which variable genes are chosen batch by batch."
    )
    spatial: bool = Field(False, description='Build the cell graph on obsm["spatial"].')
    sample_key: str | None = Field(
        None, description="Column of obs that tells the slice of a cell: no neighbours across."
    )
    format: Literal["h5ad", "zarr"] = Field("h5ad", description="Format of the result.")
    keep_x: bool = Field(False, description="Copy X into the result.")
    features: FeaturesConfig = FeaturesConfig()
    reduce: ReduceConfig = ReduceConfig()
    graph: GraphConfig = GraphConfig()
    genes: GenesConfig = GenesConfig()
    train: TrainConfig = TrainConfig()
    cluster: ClusterConfig = ClusterConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a setting that another one leaves without meaning, or that no file can hold."""
        _require_storable(self)
        if self.sample_key is not None and not self.spatial:
            message = (
                f"sample_key must go with spatial; got {self.sample_key!r} without it. "
                "Add --spatial, or name batches of origin by --batch-key."
            )
            raise ValueError(message)
        if self.graph.radius is not None and not self.spatial:
            message = (
                f"graph.radius must go with spatial; got {self.graph.radius:g} without it. "
                "Add --spatial, or leave it out."
            )
            raise ValueError(message)
        self._fit_spatial()
        if self.graph.backend in APPROXIMATE and self.graph.recall == 1:
            raise ValueError(recall_of_one_message(self.graph.backend))
        if self.graph.balanced and self.spatial:
            message = (
                "graph.balanced must go without spatial; got both. Cells of different slices lie in "
                "no common space: leave one out."
            )
            raise ValueError(message)
        if self.graph.balanced and self.batch_key is None:
            message = (
                "graph.balanced must go with batch_key; got none. "
                "Name the column of obs that tells the batches by --batch-key."
            )
            raise ValueError(message)
        return self

    def _fit_spatial(self) -> None:
        """Refuse what needs places without them, and what says nothing where they are searched."""
        if self.cluster.refine_labels not in ("auto", 0) and not self.spatial:
            message = (
                f"cluster.refine_labels must go with spatial; got {self.cluster.refine_labels} without it. "
                "Add --spatial, or leave it out."
            )
            raise ValueError(message)
        if self.graph.backend != "auto" and self.spatial:
            message = (
                f"graph.backend must be auto with spatial; got {self.graph.backend!r}. Coordinates are "
                "searched exactly, by a tree: leave it out."
            )
            raise ValueError(message)

    @property
    def clustered_on(self) -> Literal["embedding", "graph_view", "refined"]:
        """What is clustered, and is ``obsm["X_scrcl"]``: the name of a file of the stage ``embed``."""
        if self.cluster.on == "auto":
            return "graph_view" if self.spatial else "embedding"
        return self.cluster.on

    @property
    def refined_by(self) -> int:
        """Nearest spots that labels are refined by in the end; 0 where they are not."""
        n_spots = self.cluster.refine_labels
        if n_spots == "auto":
            return REFINED_BY if self.spatial else 0
        return n_spots

    def fingerprinted(self) -> dict[str, Any]:
        """Return the settings that decide the result, as plain JSON values."""
        return self.model_dump(
            mode="json", exclude={"memory": True, "device": True, "train": {"sampler"}}
        )

    def to_toml(self) -> str:
        """Return the resolved settings as TOML; settings that are None are left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
