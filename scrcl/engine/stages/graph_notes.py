"""Facts about the cell graph for the report, and notes for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import drawn_rows
from scrcl.engine.words import words_in
from scrcl.graph.lattice import Layout
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scrcl.engine.context import Context
    from scrcl.engine.covariates import Covariates
    from scrcl.engine.stages.graph import GraphRecord, Locality
    from scrcl.engine.words import Words
    from scrcl.graph.knn import KnnResult
    from scrcl.graph.settings import GraphSettings
    from scrcl.typing import IntArray

__all__ = [
    "graph_facts",
    "graph_notes",
    "graph_overview",
    "recall_text",
    "search_notes",
    "tissue_notes",
]

_WHOLE = 0.9
"""Share of cells in the largest connected component, or in the largest of their slice, below which a graph counts as
broken up."""

_MANY_STACKED = 0.2
_FEW = 0.05
_OTHER_UNIT = 50
"""Ratio of nearest distances, without the highest and lowest 5 %, that one tissue does not have in one unit."""

_LOOKED_AT = 20_000
"""Cells whose nearest cells show whether samples lie on top of each other."""

_FEW_PARTS = 10
_PARTS_PER_CELL = 0.001
_MANY_AT_HUBS = 0.05


def recall_text(recall: float) -> str:
    """Return the recall of a search in words."""
    return "exact" if recall == 1 else f"{recall:.3f}"


def graph_overview(record: GraphRecord, words: Words) -> str:
    """Return one line about the graph."""
    text = f"{record.n_edges:,} edges, recall {recall_text(record.recall)}"
    # Samples are slices, and mostly the batches too: then both shares are one.
    shares = {words.batches: record.cross_batch_share, "slices": record.cross_sample_share}
    for kind, share in shares.items():
        text += "" if share is None else f", {share:.1%} of them across {kind}"
    return text


def graph_facts(record: GraphRecord, config: GraphSettings, words: Words) -> dict[str, str]:
    """Return names and values for the section of the report."""
    recall = recall_text(record.recall)
    if recall != "exact":
        recall += f" ({config.least_recall:g} asked)"
    cell = words.cell
    layout = {} if record.layout is None else {"coordinates": Layout(**record.layout).in_words()}
    union = config.symmetry == "union"
    return {
        **layout,
        "search": f"{record.n_neighbors} nearest, {record.backend}{_effort(record.search)}",
        "recall": recall,
        f"edge between two {cell}s": "if either is a neighbour of the other"
        if union
        else "if each is a neighbour of the other",
        "edges": f"{record.n_edges:,}",
        f"neighbours of a {cell}": f"median {record.median_degree}, mean {record.mean_degree:.1f}",
        f"neighbours of 98% of the {cell}s": (
            f"{record.low_degree} to {record.high_degree} (most: {record.max_degree:,})"
        ),
        f"isolated {cell}s": f"{record.n_isolated:,}",
        "connected components": _components(record, words),
        "hubs": f"{record.hub_share:.1%} of the ends of edges are at {record.n_hubs:,} (0.1%) of the {cell}s",
        **_order(record.locality, record.n_nodes, words),
    }


def _short_of_recall(record: GraphRecord, config: GraphSettings, words: Words) -> str:
    """Return what a reader should know about a search that missed its recall."""
    aim = config.least_recall
    if config.recall == "auto" and record.backend == "partitioned":
        return (
            f"The search found {record.recall:.0%} of the nearest neighbours of a {words.cell}, and others that are "
            f"nearly as near: all are {record.excess:.1%} farther away than the nearest, on average. To find {aim:.0%} "
            f"would have taken several times as long in so large an atlas. `graph.recall={aim:g}` searches on."
        )
    return (
        f"The cell graph reached a recall of {record.recall:.3f}, below the {aim:g} that was asked for. "
        'Give `graph.backend="exact"` to compare all pairs, or a lower `graph.recall`.'
    )


def graph_notes(record: GraphRecord, config: GraphSettings, words: Words) -> list[str]:
    """Return what a reader should know about a graph that has a fault."""
    cells = f"{words.cell}s"
    notes = []
    if record.recall < config.least_recall:
        notes.append(_short_of_recall(record, config, words))
    if _is_broken_up(record):
        expected, setting = "very different types or batches", "graph.n_neighbors"
        if record.layout is not None:
            expected, setting = "pieces of tissue that lie apart", "graph.spatial_neighbors"
        union = ", or set graph.symmetry = union" if config.symmetry == "mutual" else ""
        notes.append(
            f"The cell graph has {record.n_components:,} connected components, {_largest(record, words)}. "
            f"{cells.capitalize()} learn only from neighbours in their own component. This is expected for {expected}. "
            f"Otherwise raise {setting} (now {record.n_neighbors}){union}."
        )
    if record.n_isolated > record.n_alone:  # the stage itself notes cells without found neighbours
        notes.append(
            f"{record.n_isolated:,} {cells} have no neighbour in the graph: their graph view holds only their own "
            "values."
        )
    if record.hub_share > _MANY_AT_HUBS:
        notes.append(
            f"{record.n_hubs:,} {cells} hold {record.hub_share:.0%} of the ends of edges: they are "
            f"hubs, near to very many {cells}. Fewer components (reduce.n_comps) or "
            "graph.symmetry = mutual give fewer hubs."
        )
    return notes


def search_notes(
    context: Context, covariates: Covariates, n_alone: int, n_cells: int, k: int
) -> Iterator[str]:
    """Yield what a user should know about the search."""
    config, words = context.config.graph, words_in(context)
    samples = covariates.samples
    if samples is not None:
        sizes = np.bincount(samples.codes)
        n_small = int(np.count_nonzero((sizes > 0) & (sizes <= k)))
        if n_small:
            few = "1 slice has" if n_small == 1 else f"{n_small:,} slices have"
            yield f"{few} {words.cells(k)} or fewer: these {words.cell}s have fewer neighbours."
    if n_alone:
        where = "" if samples is None else " in their sample"
        where += "" if config.radius is None else " within graph.radius"
        yield f"{n_alone:,} of {words.cells(n_cells)} ({n_alone / n_cells:.1%}) have no other {words.cell}{where}."


def tissue_notes(context: Context, covariates: Covariates, nearest: KnnResult) -> Iterator[str]:
    """Yield what nearest cells of the same sample show about the coordinates."""
    samples, cell = covariates.samples, words_in(context).cell
    found = np.asarray(nearest.distances[:, 0])
    found = found[np.isfinite(found)]
    share = float((found == 0).mean()) if len(found) else 0.0
    several = "If the input holds several slices, name their column by `sample_key`."
    on_top = None if samples is not None else _on_top(context, covariates, nearest.ids)
    if on_top is not None:
        column, n_values = on_top
        yield (
            f"obs[{column!r}] has {n_values:,} values whose coordinates overlap. If they are slices, run again into "
            f"another folder with `sample_key={column!r}`."
        )
    if on_top is None and share > _MANY_STACKED:
        hint = "Check the coordinates." if samples is not None else several
        yield f"{share:.0%} of the {cell}s have the coordinates of another {cell}. {hint}"
    if samples is None and (found > 0).any():
        near, far = np.quantile(found[found > 0], [_FEW, 1 - _FEW])
        if far > _OTHER_UNIT * near:
            yield (
                f"The nearest {cell} is {near:.4g} away for some {cell}s and {far:.4g} for others, so coordinates may "
                f"be in two units. {several}"
            )


def _on_top(context: Context, covariates: Covariates, ids: IntArray) -> tuple[str, int] | None:
    """Return the first column of obs that looks like samples which lie on top of each other, and its values."""
    from scrcl.engine.batch_columns import batch_like_columns, names_slices
    from scrcl.graph.overlap import lie_on_top, share_places

    retained = np.flatnonzero(context.open(STATS).retained)
    cells = drawn_rows(len(ids), _LOOKED_AT, context.config.seed, "graph.overlap")
    near, coordinates = np.asarray(ids[cells]), covariates.coordinates
    # Slices that are stacked by a third coordinate are near each other as they should be.
    is_flat = coordinates is not None and coordinates.shape[1] == 2
    for name, groups in batch_like_columns(context.matrix.fresh_obs().iloc[retained]).items():
        may_share = is_flat and names_slices(name)
        if lie_on_top(near, cells, groups.codes) or (
            may_share and share_places(near, cells, groups.codes)
        ):
            return name, len(groups.names)
    return None


def _effort(search: Mapping[str, int | float]) -> str:
    text = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in search.items())
    return f" ({text})" if text else ""


def _order(locality: Locality, n_cells: int, words: Words) -> dict[str, str]:
    """Return how ordering the cells by partition helps reads; nothing where one read holds all cells."""
    if n_cells <= locality.rows:
        return {}
    return {
        f"edges inside reads of {words.cells(locality.rows)}": (
            f"{locality.edges_inside:.1%} in the order of the input, "
            f"{locality.edges_inside_ordered:.1%} ordered by partition"
        )
    }


def _components(record: GraphRecord, words: Words) -> str:
    if record.n_components <= 1:
        return "1"
    slices = f" in {record.n_kept_apart:,} slices" if record.n_kept_apart > 1 else ""
    return f"{record.n_components:,}{slices}, {_largest(record, words)}"


def _largest(record: GraphRecord, words: Words) -> str:
    which = "the largest of each slice" if record.n_kept_apart > 1 else "the largest"
    return f"{which} with {record.largest_component:.1%} of the {words.cell}s"


def _is_broken_up(record: GraphRecord) -> bool:
    n_more = record.n_components - record.n_kept_apart
    many = max(_FEW_PARTS, _PARTS_PER_CELL * record.n_nodes)
    return record.largest_component < _WHOLE or n_more >= many
