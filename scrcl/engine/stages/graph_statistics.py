"""What the two stages that build a graph record about it."""

from __future__ import annotations

from scrcl.engine.stage import Record

__all__ = ["GraphStatisticsRecord"]


class GraphStatisticsRecord(Record):
    """The statistics of a graph; `scrcl.graph.statistics.describe` defines each of them."""

    n_nodes: int
    n_edges: int
    mean_degree: float
    median_degree: int
    low_degree: int
    high_degree: int
    max_degree: int
    n_isolated: int
    n_components: int
    n_kept_apart: int = 1
    largest_component: float
    n_hubs: int
    hub_share: float
