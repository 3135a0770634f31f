"""The variations: named changes of the default settings, by group.

A change is written as for ``--set``. Changes that give the default itself are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench._frame.runs import config_of
from scrcl.train.methods.scrcl.settings import ScrclSettings

if TYPE_CHECKING:
    from scrcl import RunConfig

__all__ = ["DEFAULT", "GROUPS", "Variation", "variations"]


@dataclass(frozen=True)
class Variation:
    """A name, the settings that differ from the default, and a change that no setting can express."""

    group: str
    name: str
    settings: tuple[str, ...] = ()
    two_mlps: bool = False
    """Whether the graph view's encoder sees single cells; the losses keep their graph."""

    def config(self, **given: object) -> RunConfig:
        """Return the resolved settings; ``given`` are fields of the run."""
        return config_of(self.settings, **given)


DEFAULT = Variation("default", "default")

_LARGE = 1e6
"""Factor on the other losses where one has no weight that can be set to 0. Adam does not depend on the scale of the
loss, but the clipping of gradients does, so its bound grows too."""


def _losses() -> dict[str, tuple[str, ...]]:
    default = ScrclSettings()
    return {
        "without L_HEA": (
            "scrcl.hea_cell_weight=0",
            f"scrcl.alpha={_LARGE * default.alpha}",
            f"scrcl.beta={_LARGE * default.beta}",
            f"train.max_grad_norm={_LARGE**2}",
        ),
        "without L_HEA's cell term": ("scrcl.hea_cell_weight=0",),
        "without L_NDC": ("scrcl.alpha=0",),
        "without L_CVC": ("scrcl.beta=0",),
        "L_HEA alone": ("scrcl.alpha=0", "scrcl.beta=0"),
    }


def _refinement() -> dict[str, tuple[str, ...]]:
    betas: dict[str, tuple[str, ...]] = {
        f"beta {beta:g}": (f"scrcl.beta={beta}",) for beta in (1e-2, 1e-1, 1.0, 10.0)
    }
    fewer = {
        f"beta {beta:g}, {far} negatives": (f"scrcl.beta={beta}", f"scrcl.cvc_negatives={far}")
        for beta in (1e-2, 1e-1)
        for far in (64, 256)
    }
    betas |= fewer
    of_z = {f"Z, {name}": ("cluster.on=refined", *beta) for name, beta in betas.items()}
    return {
        "Z": ("cluster.on=refined",),
        "Z, beta 0": ("cluster.on=refined", "scrcl.beta=0"),
        **betas,
        **of_z,
    }


def _inputs() -> dict[str, tuple[str, ...]]:
    smoothed = {
        f"views smoothed {mlp}, {gcn} times": (
            f"scrcl.smoothing_mlp={mlp}",
            f"scrcl.smoothing_gcn={gcn}",
        )
        for mlp, gcn in ((1, 0), (2, 1), (5, 1))
    }
    return {
        **_each("genes", "features.n_top_genes", (500, 1000, 2000, 3000)),
        **_each("components", "reduce.n_comps", (50, 100)),
        "log values of the genes": ("scrcl.features=hvg",),
        "rows of one length": ("scrcl.row_normalize=true",),
        **smoothed,
    }


def _model() -> dict[str, tuple[str, ...]]:
    return {
        **_each("dim", "scrcl.dim", (64, 128, 256)),
        **_each("refined dim", "scrcl.refined_dim", (10, 32, 100)),
        **_each("temperature", "scrcl.temperature", (0.1, 0.5, 1.0)),
        **_each("dropout", "scrcl.dropout", (0.0, 0.1, 0.3)),
        **_each("weight decay", "train.weight_decay", (0.0, 1e-3)),
        **_each("learning rate", "train.lr", (1e-3, 3e-3, 1e-2)),
        **_each("alpha", "scrcl.alpha", (1.0, 10.0, 100.0)),
        **{
            f"{steps} steps": (f"train.steps={steps}", "train.stop=never")
            for steps in (50, 60, 80, 100, 200)
        },
    }


def _clustering() -> dict[str, tuple[str, ...]]:
    return {
        **_each("by", "cluster.algorithm", ("vote", "auto", "kmeans", "linkage", "ward")),
        **_each("of", "cluster.on", ("embedding", "graph_view")),
        **_each("restarts", "cluster.restarts", (1, 4, 8, 16)),
        **_each("size power", "cluster.size_power", (0.0, 0.25, 0.5, 0.75, 1.0)),
        **_each("micro-clusters", "cluster.n_micro", (100, 300, 1000)),
    }


def _each(name: str, setting: str, values: tuple[object, ...]) -> dict[str, tuple[str, ...]]:
    return {f"{name} {value}": (f"{setting}={value}",) for value in values}


_SETTINGS = {
    "losses": _losses(),
    "refinement": _refinement(),
    "inputs": _inputs(),
    "graph": _each("neighbours", "graph.n_neighbors", (5, 10, 15, 20, 30)),
    "model": _model(),
    "clustering": _clustering(),
    "encoders": {
        "two MLPs": (),
        "two GCNs, the first of one layer": ("scrcl.smoothing_mlp=1",),
        "two GCNs, the first of two linear layers": ("scrcl.smoothing_mlp=2",),
    },
}

GROUPS = tuple(_SETTINGS)


def variations(groups: list[str]) -> list[Variation]:
    """Return the default, then the variations of the groups."""
    default, found = DEFAULT.config(), [DEFAULT]
    for group in groups:
        for name, settings in _SETTINGS[group].items():
            one = Variation(group, name, settings, two_mlps=name == "two MLPs")
            if one.two_mlps or one.config() != default:
                found.append(one)
    return found
