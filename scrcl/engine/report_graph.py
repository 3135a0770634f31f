"""What the report says of the cell graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrcl.engine.config import GraphConfig

__all__ = ["graph_facts", "graph_notes", "recall_text"]

WHOLE = 0.9
"""Share of cells in the largest part below which a graph counts as fallen apart."""

FEW_PARTS = 10
PARTS_PER_CELL = 0.001
MANY_AT_HUBS = 0.05


def recall_text(record: Mapping[str, Any]) -> str:
    """Return the recall of the search in words."""
    return "exact" if record["recall"] == 1 else f"{record['recall']:.3f}"


def graph_facts(record: Mapping[str, Any], config: GraphConfig) -> dict[str, str]:
    """Return names and values of what the stage ``graph`` recorded."""
    recall = recall_text(record)
    if recall != "exact":
        recall += f" ({config.recall:g} asked)"
    joined = "either names the other" if config.symmetry == "union" else "both name each other"
    return {
        "search": f"{record['n_neighbors']} nearest, {record['backend']}"
        f"{_effort(record['search'])}",
        "recall": recall,
        "joined where": joined,
        "edges": f"{record['n_edges']:,}",
        "neighbours of a cell": (
            f"median {record['median_degree']}, mean {record['mean_degree']:.1f}"
        ),
        "of 98 % of the cells": (
            f"{record['low_degree']} to {record['high_degree']} (most: {record['max_degree']:,})"
        ),
        "cells without any": f"{record['n_isolated']:,}",
        "parts": _parts(record),
        "ends of edges at hubs": f"{record['hub_share']:.1%} at {record['n_hubs']:,} (0.1 % of cells)",
        **_order(record["locality"], record["n_nodes"]),
        "hubness (k-occurrence skewness)": f"{record['hubness']:.2f}",
    }


def graph_notes(record: Mapping[str, Any], config: GraphConfig) -> list[str]:
    """Return what a reader should know of a graph that is not as it should be."""
    notes = []
    if record["recall"] < config.recall:
        notes.append(
            f"The cell graph reached a recall of {record['recall']:.3f}, "
            f"under the {config.recall} asked for."
        )
    if _fell_apart(record):
        notes.append(
            f"The cell graph falls into {record['n_components']:,} parts, the largest with "
            f"{record['largest_component']:.1%} of the cells. Cells learn from neighbours of their own "
            "part alone. Samples that are kept apart, and very unlike types or batches, part like "
            "this; where they should not, raise graph.n_neighbors "
            f"(now {record['n_neighbors']}){_or_union(config)}."
        )
    if record["n_isolated"] > record["n_alone"]:  # of those that are alone the stage told
        notes.append(
            f"{record['n_isolated']:,} cells have no neighbour in the graph: "
            "their view of it is made of their own values alone."
        )
    if record["hub_share"] > MANY_AT_HUBS:
        notes.append(
            f"{record['n_hubs']:,} cells hold {record['hub_share']:.0%} of the ends of edges: they are "
            "hubs, near to very many cells. Fewer components (reduce.n_comps), or "
            "graph.symmetry = mutual, make fewer of them."
        )
    return notes


def _effort(search: Mapping[str, float]) -> str:
    said = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in search.items())
    return f" ({said})" if said else ""


def _order(found: Mapping[str, Any], n_cells: int) -> dict[str, str]:
    """Return what ordering the cells by partition does; nothing where one read holds them all."""
    if n_cells <= found["rows"]:
        return {}
    rows = f"{found['rows']:,}"
    return {
        f"edges inside reads of {rows} cells": (
            f"{found['edges_inside']:.1%} as they came, "
            f"{found['edges_inside_ordered']:.1%} ordered by partition"
        )
    }


def _parts(record: Mapping[str, Any]) -> str:
    if record["n_components"] <= 1:
        return "1: all hang together"
    return f"{record['n_components']:,}, the largest with {record['largest_component']:.1%}"


def _fell_apart(record: Mapping[str, Any]) -> bool:
    many = max(FEW_PARTS, PARTS_PER_CELL * record["n_nodes"])
    return bool(record["largest_component"] < WHOLE or record["n_components"] > many)


def _or_union(config: GraphConfig) -> str:
    return ", or set graph.symmetry = union" if config.symmetry == "mutual" else ""
