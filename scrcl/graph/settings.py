"""Settings of the stage ``graph``, checked when made."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from scrcl._settings import Gone, Settings, auto_or_share, auto_or_whole, option
from scrcl.graph.names import APPROXIMATE, BACKENDS_HELP, Backend, recall_of_one_message

__all__ = ["GraphSettings"]

SpatialNeighbors = Annotated[
    int | Literal["auto"], auto_or_whole("graph.spatial_neighbors", least=1)
]
Recall = Annotated[float | Literal["auto"], auto_or_share("graph.recall")]

_RECALL = 0.95


class GraphSettings(Settings):
    """The cell graph."""

    gone: ClassVar[tuple[Gone, ...]] = (
        Gone(
            "balanced",
            without=False,
            message="graph.balanced must be left out; got True. It is gone: `correct.method` joins batches.",
        ),
    )

    n_neighbors: int = option(
        15,
        "--n-neighbors",
        panel="Graph",
        ge=1,
        description="Number of nearest neighbours of a cell in expression.",
    )
    spatial_neighbors: SpatialNeighbors = Field(
        "auto",
        description="With spatial: number of nearest neighbours of a cell in the tissue. auto: two rings on a "
        "hexagonal grid (18) or a square one (24), and 18 of irregular points.",
    )
    backend: Backend = option(
        "auto",
        "--knn",
        panel="Graph",
        description=BACKENDS_HELP,
    )
    recall: Recall = option(
        "auto",
        "--recall",
        panel="Graph",
        description="Share of true neighbours that the search must find, measured on a subset of cells. auto: "
        f"{_RECALL}, or less in an atlas of many millions, where the search would take hours.",
    )
    radius: float | None = Field(
        None,
        gt=0,
        description="With spatial: maximum distance of a neighbour, in units of the coordinates.",
    )
    symmetry: Literal["union", "mutual"] = Field(
        "union",
        description="Join two cells if one has the other as a neighbour (union), or only if both have (mutual).",
    )

    @property
    def least_recall(self) -> float:
        """Recall that the search aims at."""
        return _RECALL if self.recall == "auto" else self.recall

    def check_with(self, run: Any) -> None:
        """Refuse settings of the graph that other settings leave without effect."""
        if self.radius is not None and not run.spatial:
            message = (
                f"graph.radius must go with spatial; got {self.radius:g} without it. "
                "Add `spatial=True`, or leave it out."
            )
            raise ValueError(message)
        if self.spatial_neighbors != "auto" and not run.spatial:
            message = (
                f"graph.spatial_neighbors must go with spatial; got {self.spatial_neighbors} without it. "
                "Add `spatial=True`, or leave it out."
            )
            raise ValueError(message)
        if self.backend != "auto" and run.spatial:
            message = (
                f"graph.backend must be auto with spatial; got {self.backend!r}. Coordinates are "
                "always searched exactly, by a tree: leave it out."
            )
            raise ValueError(message)
        if self.backend in APPROXIMATE and self.recall == 1:
            raise ValueError(recall_of_one_message(self.backend))
