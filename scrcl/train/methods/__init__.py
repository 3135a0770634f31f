"""The table of methods. `README.md` in this folder lists the files of a new one.

The table is read by every command, so it imports settings and no torch. The method itself is
imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrcl.train.methods.scgpcl import presets as scgpcl
from scrcl.train.methods.scgpcl.settings import ScgpclSettings
from scrcl.train.methods.scrcl import presets as scrcl
from scrcl.train.methods.scrcl.settings import ScrclSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrcl._settings import Settings
    from scrcl.train.method import Method

__all__ = ["DEFAULT_METHOD", "METHODS", "PRESETS", "MethodEntry"]


@dataclass(frozen=True)
class MethodEntry:
    """A method that a run can choose.

    Attributes
    ----------
    settings
        Its group of settings, found in `RunConfig` under the name of the method.
    load
        Imports and returns the method.
    spaces
        Names of the embeddings that it can write. The first is clustered by default.
    spatial_space
        Embedding that is clustered by default with ``spatial``; the first if None.
    train
        Defaults of the settings of training that differ from those of other methods.
    title, paper
        Its name in prose and its paper, for the text that a report gives for the methods section of an article.
    presets
        Named sets of settings, by group. ``paper`` of a method is the preset ``METHOD-paper``.
    """

    settings: type[Settings]
    load: Callable[[], Method[Any, Any, Any, Any]]
    title: str = ""
    paper: str = ""
    spaces: tuple[str, ...] = ("embedding",)
    spatial_space: str | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def default_space(self, *, spatial: bool) -> str:
        """Return the embedding that ``cluster.on = auto`` stands for."""
        return (self.spatial_space if spatial else None) or self.spaces[0]


def _scrcl() -> Method[Any, Any, Any, Any]:
    from scrcl.train.methods.scrcl.method import ScrclMethod

    return ScrclMethod()


def _scgpcl() -> Method[Any, Any, Any, Any]:
    from scrcl.train.methods.scgpcl.method import ScgpclMethod

    return ScgpclMethod()


METHODS: dict[str, MethodEntry] = {
    "scrcl": MethodEntry(
        ScrclSettings,
        _scrcl,
        title="scRCL",
        paper="Peng et al.: Refinement contrastive learning of cell-gene associations for unsupervised cell type "
        "identification. arXiv:2512.10640 (2025).",
        spaces=("embedding", "graph_view", "refined"),
        # The MLP view reads only expression, so it knows nothing of the tissue.
        spatial_space="graph_view",
        presets={"paper": scrcl.PAPER},
    ),
    "scgpcl": MethodEntry(
        ScgpclSettings,
        _scgpcl,
        title="scGPCL",
        paper="Lee et al.: Deep single-cell RNA-seq data clustering with graph prototypical contrastive learning. "
        "Bioinformatics 39, btad342 (2023).",
        # A step of so many cells takes as long as one of scRCL: the graph has a hundred edges for each cell. Twice as
        # many steps agree no better with labels, on sets of 246 to 5,685 cells (bench/training/lengths.py).
        train={"steps": 150, "minibatch_cells": 512, "lr": 1e-3, "fanout": 128},
        presets={"paper": scgpcl.PAPER},
    ),
}
"""Methods by name. Adding an entry is all that registers a method."""

DEFAULT_METHOD = "scrcl"
"""The method of a run that names none."""

PRESETS: dict[str, dict[str, Any]] = {
    f"{method}-{name}": {"method": method, **values}
    for method, entry in METHODS.items()
    for name, values in entry.presets.items()
}
"""Settings of a run by the name of their preset."""
