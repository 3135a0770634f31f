"""What the report and the terminal call rows and their groups: cells and clusters, or in a tissue spots and domains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scrcl.engine.stages.graph import GraphStage

if TYPE_CHECKING:
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["Words", "words_of"]


@dataclass(frozen=True)
class Words:
    """Names for a row and for a group of rows; their plurals have an s."""

    cell: str = "cell"
    cluster: str = "cluster"

    def cells(self, n: int) -> str:
        """Return a number of rows in words."""
        return f"{n:,} {self.cell}{'' if n == 1 else 's'}"

    def clusters(self, n: int) -> str:
        """Return a number of groups in words."""
        return f"{n:,} {self.cluster}{'' if n == 1 else 's'}"

    def inside(self) -> Words:
        """Return the words for groups inside of a group."""
        return replace(self, cluster="subcluster")


def words_of(run: OpenRun | Context) -> Words:
    """Return the words for a run: rows on a grid are spots, and groups that are found in the tissue are domains."""
    layout = run.record(GraphStage).layout
    is_grid = layout is not None and layout["kind"] != "irregular"
    return Words("spot" if is_grid else "cell", "domain" if run.config.on_tissue else "cluster")
