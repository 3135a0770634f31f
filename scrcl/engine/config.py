"""All settings of a run, checked when created.

`RunConfig` composes the settings of the stages, and those of the chosen method under the method's name; a
TOML file, ``--set`` and keyword arguments all end here (`scrcl.engine.load_config`). Three settings
(``memory``, ``device``, ``train.sampler``) decide where to compute and not what: they are not part of a run's
fingerprint, so a run may be resumed with other values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from scrcl._settings import Settings, auto_or_whole
from scrcl._sizes import parse_bytes
from scrcl.cluster.settings import REFINED_BY, ClusterConfig
from scrcl.graph.names import APPROXIMATE, Backend, no_proof
from scrcl.train.methods import METHODS
from scrcl.train.settings import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from scrcl.train.methods import MethodEntry

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
    backend: Backend = Field(
        "auto",
        description="Search: exact, partitioned, ivf, hnsw or pynndescent (the last two differ from run to "
        "run); auto: exact below 20,000 cells, partitioned above, ivf on a GPU.",
    )
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


def _method(value: object) -> str:
    if isinstance(value, str) and value in METHODS:
        return value
    message = f"method must be {' or '.join(METHODS)}; got {value!r}."
    raise ValueError(message)


def _group_of(method: str) -> type[Settings]:
    """Return a model with the method's group as its only field: faults are then named by group and setting."""
    settings = METHODS[method].settings
    return create_model("_Group", __base__=Settings, **{method: (settings, settings())})  # type: ignore[call-overload,no-any-return]


def _refuse_other_methods(groups: Iterable[str], method: str) -> None:
    for other in groups:
        if other in METHODS and other != method:
            message = (
                f"{other} must be left out unless method is {other}; got settings of {other} with method "
                f"{method!r}. Choose method={other}, or leave them out."
            )
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
MethodName = Annotated[str, BeforeValidator(_method)]


class RunConfig(Settings):
    """All settings of a run, with those of the method under the method's name.

    Examples
    --------
    >>> config = RunConfig(n_clusters=8, train={"lr": 5e-4}, scrcl={"dim": 64})
    >>> config.train.lr, config.method_settings.dim
    (0.0005, 64)
    """

    # The method's group is an extra field, since methods may be registered later. `_of_method` validates it.
    model_config = ConfigDict(extra="allow")

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
    method: MethodName = Field("scrcl", description="Method that learns the embedding.")
    train: TrainSettings = TrainSettings()
    cluster: ClusterConfig = ClusterConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _of_method(cls, values: Any) -> Any:
        """Validate the settings of the chosen method; refuse those of others, and unknown names."""
        if not isinstance(values, dict):
            return values
        method = _method(values.get("method", cls.model_fields["method"].default))
        # Dumped settings may hold an empty group of another method, which sets nothing.
        extra = {
            name: group
            for name, group in values.items()
            if name not in cls.model_fields and (group != {} or name not in METHODS)
        }
        _refuse_other_methods(extra, method)
        checked = _group_of(method).model_validate(extra)
        known = {name: value for name, value in values.items() if name in cls.model_fields}
        return {**known, method: getattr(checked, method)}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a setting that has no effect next to another one, or that no file can hold."""
        _require_storable(self)
        self._fit_method()
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
            raise ValueError(no_proof(self.graph.backend))
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

    def _fit_method(self) -> None:
        """Refuse to cluster an embedding that the method does not write."""
        spaces = self.method_entry.spaces
        if self.cluster.on not in ("auto", *spaces):
            message = (
                f"cluster.on must be auto or an embedding of {self.method} ({', '.join(spaces)}); "
                f"got {self.cluster.on!r}."
            )
            raise ValueError(message)

    @property
    def method_entry(self) -> MethodEntry:
        """The chosen method in the table of methods."""
        return METHODS[self.method]

    @property
    def method_settings(self) -> Any:
        """Settings of the chosen method: an instance of ``method_entry.settings``."""
        assert self.__pydantic_extra__ is not None
        return self.__pydantic_extra__[self.method]

    @property
    def clustered_on(self) -> str:
        """The embedding that is clustered, and is ``obsm["X_scrcl"]``: a file of the stage ``embed``."""
        if self.cluster.on == "auto":
            return self.method_entry.default_space(spatial=self.spatial)
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
