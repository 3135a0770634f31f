"""All settings of a run, checked when it is made.

`RunConfig` composes the settings of the stages. A TOML file, command line options and keyword arguments all become
one (`scrcl.engine.load_config`). Three settings do not change the result (``memory``, ``device``, ``train.sampler``):
they are not in the fingerprint of a run, so a run can resume with other values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from scrcl._settings import Rule, Settings, auto_or_whole, option
from scrcl._sizes import parse_bytes
from scrcl.cluster.settings import REFINED_BY, ClusterConfig
from scrcl.graph.names import APPROXIMATE, Backend, no_proof
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

    n_top_genes: int = Field(2000, ge=2, description="Number of highly variable genes to select.")
    flavor: Literal["seurat", "cell_ranger", "seurat_v3"] = Field(
        "seurat",
        description="How variable genes are selected, as in scanpy; seurat_v3 reads the counts once more.",
    )
    min_genes: int = Field(0, ge=0, description="Cells with fewer genes are left out.")
    max_counts: float | None = Field(
        None, gt=0, description="Cells with a larger sum of values are left out."
    )
    max_mito: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Cells with a larger share of mitochondrial counts are left out.",
    )
    mito_prefix: str = Field(
        "MT-",
        min_length=1,
        description="Start of the names of mitochondrial genes; upper and lower case are the same.",
    )
    min_cells: int = Field(1, ge=1, description="Genes in fewer retained cells are not selected.")
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="Type in which log values of the selected genes are stored."
    )


class ReduceConfig(Settings):
    """The principal components."""

    n_comps: int = Field(
        100, ge=2, description="Number of principal components; fewer if the data has fewer."
    )
    solver: Literal["auto", "gram", "randomized"] = Field(
        "auto",
        description="Components from the genes' Gram matrix (gram) or by randomized SVD; auto: gram unless many genes "
        "are selected.",
    )


class GraphConfig(Settings):
    """The cell graph."""

    n_neighbors: int = option(
        15,
        "--n-neighbors",
        panel="Graph",
        ge=1,
        description="Number of nearest neighbours of a cell.",
    )
    backend: Backend = option(
        "auto",
        "--knn",
        panel="Graph",
        description="Neighbour search; hnsw and pynndescent differ from run to run; auto: exact below 20,000 cells, "
        "else partitioned, or ivf on a GPU.",
    )
    recall: float = option(
        0.95,
        "--recall",
        panel="Graph",
        gt=0,
        le=1,
        description="Share of true neighbours that the search must find, measured on a subset of cells.",
    )
    radius: float | None = Field(
        None,
        gt=0,
        description="With spatial: maximum distance of a neighbour, in units of the coordinates.",
    )
    balanced: bool = Field(
        False,
        description="Search the same number of neighbours in every batch of batch_key.",
    )
    symmetry: Literal["union", "mutual"] = Field(
        "union",
        description="Join two cells if one has the other as a neighbour (union), or only if both have (mutual).",
    )


class GenesConfig(Settings):
    """The gene graph."""

    n_neighbors: int = Field(5, ge=1, description="Number of nearest neighbours of a gene.")
    metric: Literal["euclidean", "cosine", "correlation"] = Field(
        "euclidean", description="Distance between genes, which are columns of cells by genes."
    )
    source: Literal["sketch", "gram"] = Field(
        "sketch",
        description="Compare genes by loadings times singular values (sketch), or by all cells through the genes' "
        "Gram matrix (gram).",
    )


class ReportConfig(Settings):
    """What the report shows."""

    umap_cells: int = Field(5000, ge=0, description="Number of cells in the UMAP figure.")
    n_markers: int = Field(10, ge=1, description="Number of marker genes of each cluster.")


def _device(value: object) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return str(value)
    message = f"device must be auto, cpu, cuda or cuda:N; got {value!r}."
    raise ValueError(message)


def _require_storable(settings: BaseModel, group: str = "") -> None:
    """Refuse whole numbers that do not fit into the settings of a result (HDF5, int64)."""
    for name, value in settings:
        if isinstance(value, BaseModel):
            _require_storable(value, f"{group}{name}.")
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number >= 2**63:
                message = f"{group}{name} must be below 2^63; got {number}."
                raise ValueError(message)


Bytes = Annotated[int, Rule(parse_bytes, allowed="a size such as 2GB or 512MiB")]
Clusters = Annotated[int | Literal["auto"], auto_or_whole("n_clusters", least=2)]
Device = Annotated[
    str, Rule(_device, allowed="auto, cpu, cuda or cuda:N", words=("auto", "cpu", "cuda"))
]


class RunConfig(Settings):
    """All settings of a run.

    Examples
    --------
    >>> RunConfig(n_clusters=8, train={"lr": 5e-4}).train.lr
    0.0005
    """

    n_clusters: Clusters = option(
        "auto", "--n-clusters", panel="Clusters", description="Number of clusters."
    )
    seed: int = option(
        0, "--seed", panel="Run", ge=0, lt=2**63, description="Seed of all random numbers."
    )
    memory: Bytes = option(
        "4GB",
        "--memory",
        panel="Resources",
        gt=0,
        validate_default=True,
        description="Peak memory that the run may use.",
    )
    device: Device = option(
        "auto", "--device", panel="Resources", description="Device that computes."
    )
    layer: str | None = option(
        None, "--layer", panel="Input", description="Layer to read instead of X; `raw` for raw.X."
    )
    join: Literal["inner", "outer"] = option(
        "inner",
        "--join",
        panel="Input",
        description="Genes of several inputs: those in all of them (inner) or in any of them (outer).",
    )
    batch_key: str | None = option(
        None,
        "--batch-key",
        panel="Input",
        description="Column of obs with the batch of each cell (a donor, a study); variable genes are selected "
        "batch by batch.",
    )
    spatial: bool = option(
        False,
        "--spatial",
        panel="Input",
        description='Build the cell graph from the coordinates in obsm["spatial"].',
    )
    sample_key: str | None = option(
        None,
        "--sample-key",
        panel="Input",
        description="With spatial: column of obs with the slice of each cell; cells of different slices are never "
        "neighbours.",
    )
    format: Literal["h5ad", "zarr"] = option(
        "h5ad", "--format", panel="Output", description="File format of the result."
    )
    keep_x: bool = option(False, "--keep-x", panel="Output", description="Copy X into the result.")
    features: FeaturesConfig = FeaturesConfig()
    reduce: ReduceConfig = ReduceConfig()
    graph: GraphConfig = GraphConfig()
    genes: GenesConfig = GenesConfig()
    train: TrainConfig = TrainConfig()
    cluster: ClusterConfig = ClusterConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a setting that has no effect with another one, or that no file can hold."""
        _require_storable(self)
        if self.sample_key is not None and not self.spatial:
            message = (
                f"sample_key must go with spatial; got {self.sample_key!r} without it. "
                "Add --spatial, or name the batches by --batch-key."
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
            raise ValueError(no_proof(self.graph.backend))
        if self.graph.balanced and self.spatial:
            message = (
                "graph.balanced must go without spatial; got both. Slices have separate coordinates: "
                "leave one out."
            )
            raise ValueError(message)
        if self.graph.balanced and self.batch_key is None:
            message = (
                "graph.balanced must go with batch_key; got none. "
                "Name a column of obs with the batches by --batch-key."
            )
            raise ValueError(message)
        return self

    def _fit_spatial(self) -> None:
        """Refuse settings that need coordinates in a run without them, and those without effect in a run with them."""
        if self.cluster.refine_labels not in ("auto", 0) and not self.spatial:
            message = (
                f"cluster.refine_labels must go with spatial; got {self.cluster.refine_labels} without it. "
                "Add --spatial, or leave it out."
            )
            raise ValueError(message)
        if self.graph.backend != "auto" and self.spatial:
            message = (
                f"graph.backend must be auto with spatial; got {self.graph.backend!r}. Coordinates are "
                "always searched exactly, by a tree: leave it out."
            )
            raise ValueError(message)

    @property
    def clustered_on(self) -> Literal["embedding", "graph_view", "refined"]:
        """The embedding that is clustered and becomes ``obsm["X_scrcl"]``: a file of the stage ``embed``."""
        if self.cluster.on == "auto":
            return "graph_view" if self.spatial else "embedding"
        return self.cluster.on

    @property
    def refined_by(self) -> int:
        """Number of nearest cells that smooth the labels; 0 if labels are not smoothed."""
        n_spots = self.cluster.refine_labels
        if n_spots == "auto":
            return REFINED_BY if self.spatial else 0
        return n_spots

    def fingerprinted(self) -> dict[str, Any]:
        """Return the settings that the result depends on, as plain JSON values."""
        return self.model_dump(
            mode="json", exclude={"memory": True, "device": True, "train": {"sampler"}}
        )

    def to_toml(self) -> str:
        """Return the resolved settings as TOML; settings that are None are left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
