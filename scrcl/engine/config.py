"""All settings of a run, checked when made.

`RunConfig` composes the settings of the stages, and those of the chosen method under the method's name. A TOML file,
command line options and keyword arguments all become one (`scrcl.engine.load_config`). A preset gives settings below
all of these. Three settings do not change the result (``memory``, ``device``, ``train.sampler``), and neither does the
name of a preset, since its settings are there themselves. These four are not in the fingerprint, so a run can resume
with other values.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, create_model, model_validator

from scrcl._settings import Rule, Settings, auto_or_whole, option
from scrcl._sizes import parse_bytes
from scrcl.cluster.settings import SMOOTHING_CELLS, ClusterSettings
from scrcl.engine.stages import STAGES
from scrcl.engine.stages.features import FeaturesSettings
from scrcl.engine.stages.genes import GenesSettings
from scrcl.engine.stages.markers import MarkersSettings
from scrcl.engine.stages.names import NamesSettings
from scrcl.engine.stages.reduce import ReduceSettings
from scrcl.engine.stages.report import ReportSettings
from scrcl.engine.stages.tissue import TissueSettings
from scrcl.engine.stages.umap import UmapSettings
from scrcl.graph.settings import GraphSettings
from scrcl.train.methods import DEFAULT_METHOD, METHODS, PRESETS
from scrcl.train.settings import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from scrcl.train.methods import MethodEntry

__all__ = ["OF_PREDICTIONS", "RunConfig"]

OF_PREDICTIONS = (
    "coordinates", "device", "features.values", "format", "join", "keep_x", "layer", "memory", "sample_key",
)  # fmt: skip
"""Settings that a prediction may have of its own."""


def _device(value: object) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return str(value)
    message = f"device must be auto, cpu, cuda or cuda:N; got {value!r}."
    raise ValueError(message)


def _named(setting: str, table: Mapping[str, Any], value: object) -> str:
    """Return the name of an entry of a table."""
    if isinstance(value, str) and value in table:
        return value
    message = f"{setting} must be {' or '.join(table)}; got {value!r}."
    raise ValueError(message)


_method, _preset = partial(_named, "method", METHODS), partial(_named, "preset", PRESETS)


def _with_slices_as_batches(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose batches are the slices, if there are slices and no batches are named."""
    if values.get("spatial") and values.get("batch_key") is None:
        return {**values, "batch_key": values.get("sample_key")}
    return dict(values)


def _over_preset(values: dict[str, Any]) -> dict[str, Any]:
    """Return the given settings over those of the preset that they name, if any."""
    if values.get("preset") is None:
        return values
    name = _preset(values["preset"])
    preset = PRESETS[name]
    method = values.get("method", preset["method"])
    if method != preset["method"]:
        message = (
            f"preset {name} must go with method {preset['method']}; got method {method!r}. "
            "Leave one of them out."
        )
        raise ValueError(message)
    groups = {
        group: _with_defaults(settings, values.get(group, {}))
        for group, settings in preset.items()
        if group != "method"
    }
    return {**values, "method": method, **groups}


def _with_defaults(defaults: Mapping[str, Any], given: Any) -> Any:
    """Return the given settings of a group over its defaults; a value that is no group stays as it is."""
    if isinstance(given, Settings):
        given = given.model_dump(exclude_unset=True)
    return {**defaults, **given} if isinstance(given, dict) else given


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
PresetName = Annotated[str, Rule(_preset, allowed=" or ".join(PRESETS), words=tuple(PRESETS))]
MethodName = Annotated[str, Rule(_method, allowed=" or ".join(METHODS), words=tuple(METHODS))]


class RunConfig(Settings):
    """All settings of a run, with those of the method under the method's name.

    Examples
    --------
    >>> config = RunConfig(n_clusters=8, train={"lr": 5e-4})
    >>> config.train.lr, config.method_settings.dim
    (0.0005, 128)
    """

    several: ClassVar[frozenset[str]] = frozenset({"batch_key", "coordinates"})

    # Groups of methods and of stages that this file does not know are extra fields. `_with_groups` checks them.
    model_config = ConfigDict(extra="allow")

    n_clusters: Clusters = option(
        "auto", "--n-clusters", panel="Clusters", description="Number of clusters."
    )
    seed: int = option(0, "--seed", panel="Run", ge=0, lt=2**63, description="Random seed.")
    memory: Bytes = option(
        "4GB",
        "--memory",
        panel="Resources",
        gt=0,
        validate_default=True,
        description="Limit for the peak memory.",
    )
    device: Device = option(
        "auto", "--device", panel="Resources", description="Device to compute on."
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
        description="Column of obs with the batch of each cell (a donor, a study), or several with commas. Where "
        "batches keep apart, variable genes are selected batch by batch, and components are corrected.",
    )
    spatial: bool = option(
        False,
        "--spatial",
        panel="Input",
        description="Find domains of a tissue: neighbours are the nearest cells in the tissue.",
    )
    coordinates: str | None = option(
        None,
        "--coordinates",
        panel="Input",
        description='Where the coordinates are, if not in obsm["spatial"]: another key of obsm, columns of obs with '
        "commas (x,y), or a CSV file whose first column names the cells.",
    )
    sample_key: str | None = option(
        None,
        "--sample-key",
        panel="Input",
        description="With spatial: column of obs with the slice of each cell; cells of different slices are never "
        "neighbours. Slices are the batches, so that they share domains, unless `batch_key` names others. By default "
        "each of several inputs is a slice, or the column that names the libraries of uns['spatial'].",
    )
    one_tissue: bool = option(
        False,
        "--one-tissue",
        panel="Input",
        description="With spatial: all inputs share one coordinate system, so that cells of different ones may be "
        "neighbours.",
    )
    format: Literal["h5ad", "zarr"] = option(
        "h5ad", "--format", panel="Output", description="File format of the result."
    )
    keep_x: bool = option(False, "--keep-x", panel="Output", description="Copy X into the result.")
    method: MethodName = option(
        DEFAULT_METHOD,
        "--method",
        panel="Training",
        description="Method that learns the embedding.",
    )
    preset: PresetName | None = option(
        None,
        "--preset",
        panel="Training",
        description="Settings of a method as published. Settings that you give yourself come first.",
    )
    features: FeaturesSettings = FeaturesSettings()
    reduce: ReduceSettings = ReduceSettings()
    graph: GraphSettings = GraphSettings()
    tissue: TissueSettings = TissueSettings()
    genes: GenesSettings = GenesSettings()
    train: TrainSettings = TrainSettings()
    umap: UmapSettings = UmapSettings()
    cluster: ClusterSettings = ClusterSettings()
    markers: MarkersSettings = MarkersSettings()
    names: NamesSettings = NamesSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="before")
    @classmethod
    def _with_groups(cls, values: Any) -> Any:
        """Check the groups of the chosen method and of further stages. Refuse other names."""
        if not isinstance(values, dict):
            return values
        values = _with_slices_as_batches(_over_preset(values))
        method = _method(values.get("method", cls.model_fields["method"].default))
        # Dumped settings may hold an empty group of another method, which sets nothing.
        extra = {
            name: group
            for name, group in values.items()
            if name not in cls.model_fields and (group != {} or name not in METHODS)
        }
        for other in extra:
            if other in METHODS and other != method:
                message = (
                    f"{other} must be left out unless method is {other}; got settings of {other} with "
                    f"method {method!r}. Choose method={other}, or leave them out."
                )
                raise ValueError(message)
        groups = {
            stage.name: stage.settings
            for stage in STAGES
            if stage.settings is not None and stage.name not in cls.model_fields
        } | {method: METHODS[method].settings}
        # One model for all of them: its errors name the group and the setting.
        fields: Any = {name: (settings, settings()) for name, settings in groups.items()}
        checked = create_model("_Groups", __base__=Settings, **fields).model_validate(extra)
        known = {name: value for name, value in values.items() if name in cls.model_fields}
        known["train"] = _with_defaults(METHODS[method].train, known.get("train", {}))
        return {**known, **{name: getattr(checked, name) for name in groups}}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a setting that has no effect with another one, or that no file can hold."""
        _require_storable(self)
        spaces = self.method_entry.spaces
        if self.cluster.on not in ("auto", *spaces):
            message = (
                f"cluster.on must be auto or an embedding of {self.method} ({', '.join(spaces)}); "
                f"got {self.cluster.on!r}."
            )
            raise ValueError(message)
        if self.sample_key is not None and not self.spatial:
            message = (
                f"sample_key must go with spatial; got {self.sample_key!r} without it. "
                "Add `spatial=True`, or name the batches by `batch_key`."
            )
            raise ValueError(message)
        if self.one_tissue and (self.sample_key is not None or not self.spatial):
            got = "no spatial" if self.sample_key is None else f"sample_key={self.sample_key!r}"
            message = (
                f"one_tissue must go with spatial, and without sample_key; got {got}. Leave it out, or "
                f"{'add `spatial=True`' if self.sample_key is None else 'leave out `sample_key`'}."
            )
            raise ValueError(message)
        for _, group in self:
            if isinstance(group, Settings):
                group.check_with(self)
        return self

    def group(self, name: str) -> Any:
        """Return the settings of a stage or of the chosen method."""
        return getattr(self, name)

    @property
    def method_entry(self) -> MethodEntry:
        """The chosen method in the table of methods."""
        return METHODS[self.method]

    @property
    def method_settings(self) -> Any:
        """Settings of the chosen method: an instance of ``method_entry.settings``."""
        return self.group(self.method)

    @property
    def clustered_on(self) -> str:
        """The embedding in ``obsm["X_scrcl"]``, a file of the stage ``embed``. It is clustered unless `on_tissue`."""
        if self.cluster.on == "auto":
            return self.method_entry.default_space(spatial=self.spatial)
        return self.cluster.on

    @property
    def searched_neighbors(self) -> tuple[str, int | str]:
        """The setting that says how many neighbours of a cell are searched, and its value, which may be ``auto``."""
        if self.spatial:
            return "graph.spatial_neighbors", self.graph.spatial_neighbors
        return "graph.n_neighbors", self.graph.n_neighbors

    @property
    def on_tissue(self) -> bool:
        """Whether averages over the tissue are clustered, and not an embedding of the method."""
        return self.spatial and self.cluster.on == "auto"

    @property
    def cluster_settings(self) -> ClusterSettings:
        """How cells are clustered. ``vote`` and ``auto`` are for types: averages over the tissue get the mixture."""
        if self.on_tissue and self.cluster.algorithm in ("vote", "auto"):
            return self.cluster.model_copy(update={"algorithm": "mixture"})
        return self.cluster

    @property
    def smoothing_cells(self) -> int:
        """Number of nearest cells that smooth the labels; 0 if labels are not smoothed."""
        n_cells = self.cluster.refine_labels
        if n_cells == "auto":
            return SMOOTHING_CELLS if self.spatial else 0
        return n_cells

    def fingerprinted(self) -> dict[str, Any]:
        """Return the settings that the result depends on, as plain JSON values.

        Of a file only the content counts, which `scrcl.engine.run` adds.
        """
        return self.model_dump(
            mode="json",
            exclude={
                "memory": True,
                "device": True,
                "preset": True,
                "train": {"sampler"},
                "names": {"table"},
            },
        )

    def to_toml(self) -> str:
        """Return the resolved settings as TOML; settings that are None are left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
