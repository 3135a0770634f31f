"""Everything a run can be told, checked when it is made.

`RunConfig` composes the settings of the stages; a TOML file, ``--set`` and keyword arguments all end
here. Three settings say where to compute and not what (``memory``, ``device``, ``train.sampler``): they are
no part of a run's fingerprint, so a run may be resumed with others.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from scrcl.engine.clusters.table import Method
from scrcl.engine.sizes import parse_bytes
from scrcl.errors import InputError
from scrcl.graph.names import APPROXIMATE, Backend, no_proof
from scrcl.train.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Self

__all__ = [
    "ClusterConfig",
    "FeaturesConfig",
    "GenesConfig",
    "GraphConfig",
    "ReduceConfig",
    "ReportConfig",
    "RunConfig",
    "first_fault",
    "load_config",
]


REFINED_BY = 12
"""Spots that labels are refined by: whole rings on a hexagonal lattice (6 + 6) and on a square one (4 + 4 + 4).
A layer two spots wide outlives it, and not 20 or 50 (bench/results/spatial_cpu_2026-11-21.md)."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeaturesConfig(_Settings):
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


class ReduceConfig(_Settings):
    """The principal components."""

    n_comps: int = Field(
        100, ge=2, description="Principal components kept, fewer where data has fewer."
    )
    solver: Literal["auto", "gram", "randomized"] = Field(
        "auto",
        description="From the genes' Gram matrix, or by randomised SVD where many genes are kept.",
    )


class GraphConfig(_Settings):
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
    expression_neighbors: int = Field(
        0,
        ge=0,
        description="With spatial: nearest neighbours of a cell by its components, of any slice, that the graph "
        "has beside those in the tissue; 0: none.",
    )
    balanced: bool = Field(
        False,
        description="Take the neighbours of a cell in equal numbers from every batch of batch_key.",
    )
    symmetry: Literal["union", "mutual"] = Field(
        "union", description="Join two cells where either names the other, or where both do."
    )


class GenesConfig(_Settings):
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


def _refining(value: object) -> int | str:
    if value == "auto":
        return "auto"
    if type(value) is not bool and isinstance(value, Integral) and int(value) >= 0:
        return int(value)
    message = (
        f"cluster.refine_labels must be auto or a whole number of spots, 0 for none; got {value!r}."
    )
    raise ValueError(message)


Refining = Annotated[int | Literal["auto"], BeforeValidator(_refining)]


class ClusterConfig(_Settings):
    """The final clustering."""

    method: Method = Field(
        "auto",
        description="Merge micro-clusters by damped average linkage or by Ward's cost (ward), k-means with K "
        "centroids (kmeans), communities at the resolution that gives K (leiden); auto: micro-clusters joined by "
        "communities where these agree, else, and with spatial, by linkage.",
    )
    also: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (), description="Further numbers of clusters, cut from the same tree where it has so many."
    )
    on: Literal["auto", "embedding", "graph_view", "refined"] = Field(
        "auto",
        description="Cluster E = [E^m | E^g], E^g alone (graph_view), or Z = [Z^m | Z^g] (Eq. 11); auto: E^g with "
        "spatial, where E^m knows nothing of the tissue, else E.",
    )
    agreement: float = Field(
        2 / 3,
        ge=0,
        le=1,
        description="With auto: how far linkage, communities of the embedding and those of the components must agree "
        "(mean adjusted Rand index) for communities to be taken.",
    )
    n_micro: int = Field(
        300, ge=2, description="Micro-clusters, at least, that auto, linkage and ward merge."
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


class ReportConfig(_Settings):
    """What the report shows."""

    umap_cells: int = Field(
        5000, ge=0, description="Cells drawn (and laid out) in the UMAP picture."
    )
    n_markers: int = Field(10, ge=1, description="Marker genes kept for each cluster.")


def _clusters(value: object) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, Integral) and int(value) >= 2:  # NumPy's integers too
        return int(value)
    message = f"n_clusters must be auto or a whole number of at least 2; got {value!r}."
    raise ValueError(message)


def _device(value: object) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return str(value)
    message = f"device must be auto, cpu, cuda or cuda:N; got {value!r}."
    raise ValueError(message)


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Clusters = Annotated[int | Literal["auto"], BeforeValidator(_clusters)]
Device = Annotated[str, BeforeValidator(_device)]


class RunConfig(_Settings):
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
        """Refuse a setting that another one leaves without meaning."""
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
        mixed = self.graph.expression_neighbors
        if mixed and not self.spatial:
            message = (
                f"graph.expression_neighbors must go with spatial; got {mixed} without it. Add --spatial, or "
                "leave it out: all neighbours are by expression then."
            )
            raise ValueError(message)
        if self.cluster.refine_labels not in ("auto", 0) and not self.spatial:
            message = (
                f"cluster.refine_labels must go with spatial; got {self.cluster.refine_labels} without it. "
                "Add --spatial, or leave it out."
            )
            raise ValueError(message)
        if self.graph.backend != "auto" and self.spatial and not mixed:
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


def load_config(
    path: Path | None = None,
    *,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Resolve a configuration: defaults, then a TOML file, then ``overrides``, then ``settings``.

    Parameters
    ----------
    path
        A TOML file with the fields of `RunConfig`.
    settings
        Assignments such as ``"train.lr=1e-3"``; values are read as TOML, or else as text.
    overrides
        Top-level fields, or whole groups of settings, that win over the file.

    Raises
    ------
    InputError
        An unknown key, or a value that breaks a rule: the key, the value and the rule are named.
    """
    tree = _read_toml(path) if path is not None else {}
    tree.update(overrides or {})
    for assignment in settings:
        _assign(tree, assignment)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(first_fault(error)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"config must be a readable file; got {path} ({error.strerror})."
        raise InputError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"config must be TOML; got {path} ({error})."
        raise InputError(message) from None


def _assign(tree: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    *groups, name = key.strip().split(".")
    if not equals or not name:
        message = f"--set must be KEY=VALUE, as in train.lr=1e-3; got {assignment!r}."
        raise InputError(message)
    for group in groups:
        inner = tree.get(group, {})
        if isinstance(inner, BaseModel):
            inner = inner.model_dump()
        if not isinstance(inner, dict):
            message = f"--set {key.strip()} must name a setting; {group} is a value, not a group."
            raise InputError(message)
        tree[group] = inner = dict(inner)
        tree = inner
    try:
        tree[name] = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        tree[name] = text.strip()


def first_fault(error: ValidationError) -> str:
    """Say what is wrong with the first faulty setting."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "value_error":
        return rule
    if first["type"] == "extra_forbidden":
        return f"{where} must be a known setting; got {first['input']!r}. {_suggest(first['loc'])}"
    return f"{where} must be {rule}; got {first['input']!r}."


def _suggest(location: tuple[int | str, ...]) -> str:
    """Name the setting that was probably meant, or all of its group."""
    model: type[BaseModel] = RunConfig
    for part in location[:-1]:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        model = inner
    near = get_close_matches(str(location[-1]), model.model_fields, n=1)
    if near:
        return f"Did you mean {'.'.join([*map(str, location[:-1]), near[0]])}?"
    return f"There are: {', '.join(model.model_fields)}."
