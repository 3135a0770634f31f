"""Communities that several representations of the same cells agree on, merged where no valley parts them.

How counts are scaled, and how many components are kept, changes clusters as much as chance does. So the cells are
compared in several representations: component scores, and scores after other scalings of the counts, each with fewer
and with more components. Each gives a neighbour graph, and communities of it at several resolutions. An edge that is in
many graphs weighs more, and so does one whose ends are in the same community in most partitions. Communities of that
one graph are the start. They cut dominant types and tails into pieces, so those without a valley between them are
merged (`scrcl.cluster.merging`). Rare types, which are in no community of their own, are added (`scrcl.cluster.rare`).
What is left is the number of clusters that the data supports.

Another number is cut from a tree. Its upper part joins these clusters: those first that are near in all
representations side by side, and parted by a low barrier (`scrcl.cluster.merging.join_order`). Its lower part divides
them by damped average linkage in the embedding: where no valley shows, near cells say more than single ones do.
Figures: `bench/results/accuracy/2026-11-30-2cpu-types.md`.

References
----------
Strehl and Ghosh: Cluster ensembles: a knowledge reuse framework for combining multiple partitions, JMLR 3 (2002),
583-617.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.algorithms.leiden import of_all_cells
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.counted import VALLEY_COMPS, counted
from scrcl.cluster.evidence import Evidence
from scrcl.cluster.merging import join_order, merge_unsupported
from scrcl.cluster.micro import micro_clusters_inside, summarise
from scrcl.cluster.protocol import Grouping, Representations
from scrcl.cluster.rare import N_NEAREST, with_rare_types
from scrcl.cluster.tree import Hierarchy, Joins
from scrcl.cluster.vote_notes import note_of_divided, note_of_joined, note_of_rare
from scrcl.graph.communities import graph_of_neighbours, leiden_of
from scrcl.io.arrays import SMALL_MAP_BYTES, gathered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = ["MOST_COMPS", "by_vote", "side_by_side", "vote"]

MOST_COMPS = 30
"""Components of a representation. Later ones hold more noise than structure."""

_COMPS = (15, MOST_COMPS)
"""Components in the graphs of a representation."""

_RESOLUTIONS = (0.5, 1.0, 2.0)
"""Resolutions of the partitions that vote."""

_FEWEST_NEIGHBORS = 5
"""Neighbours in the smallest data sets. With fewer, chance alone cuts types."""


def by_vote(
    spaces: Spaces, n_clusters: int | None, *, settings: ClusterSettings, seed: int
) -> Grouping:
    """Return the clusters that the data supports, or a cut of their tree into ``n_clusters``.

    At most ``cluster.vote_cells`` cells vote. The others get the cluster of their nearest micro-cluster. Without
    component scores, as in a tissue, linkage finds the clusters.
    """
    if spaces.scores is None:
        return counted(by_linkage)(spaces, n_clusters, settings=settings, seed=seed)
    points, n_cells = spaces.points, len(spaces.points)
    drawn = drawn_rows(n_cells, settings.vote_cells, seed, "cluster.vote.cells")
    regions, groups = _rare_regions(spaces, settings, len(drawn))
    cells = np.union1d(drawn, regions)
    is_drawn, cores = np.isin(cells, drawn), np.full(len(cells), -1)
    cores[np.searchsorted(cells, regions)] = groups
    evidence, supported, n_rare = _supported(spaces, cells, is_drawn, cores, settings, seed)
    n_supported = int(supported.max()) + 1
    wanted = n_clusters or n_supported
    some_labels, means, cluster_of_micro = micro_clusters_inside(
        np.asarray(gathered(points, cells, above=SMALL_MAP_BYTES), np.float32),
        supported,
        settings.n_micro_clusters(n_cells, wanted),
        seed=seed,
        device=spaces.device,
    )
    if wanted > len(cluster_of_micro):
        return by_linkage(spaces, wanted, settings=settings, seed=seed)
    whole = _found_whole(supported, is_drawn, n_rare)
    micro_labels = of_all_cells(points, cells, some_labels, means, ~whole[cluster_of_micro])
    summary = summarise(points, micro_labels)
    cost = MergeCost(settings.size_power)
    joint = side_by_side(evidence.spaces)
    order = join_order(evidence, supported, joint, settings.size_power, n_rare=n_rare)
    joins = Joins(cluster_of_micro, order)
    note = note_of_rare(np.bincount(cluster_of_micro[micro_labels])[n_supported - n_rare :])
    if wanted != n_supported:
        supported_of_micro = cluster_of_micro
        tree = Hierarchy(summary, supported_of_micro, cost, joins)
        cluster_of_micro = tree.cut(wanted, smallest=settings.smallest_cells)
        note = (
            note_of_divided(wanted, n_supported)
            if wanted > n_supported
            else note_of_joined(supported_of_micro, cluster_of_micro, summary.sizes)
        )
    return Grouping(
        micro_labels,
        means,
        cluster_of_micro,
        cost,
        summary=summary,
        note=note,
        evidence=evidence,
        joins=joins,
    )


def side_by_side(spaces: Sequence[FloatArray]) -> NDArray[np.float32]:
    """Return all spaces as one, each with the same total variance: shape (n_cells, sum of dimensions)."""
    variances = [float(space.var(axis=0, dtype=np.float64).sum()) or 1.0 for space in spaces]
    return np.concatenate(
        [space / np.float32(np.sqrt(v)) for space, v in zip(spaces, variances, strict=True)],
        axis=1,
    ).astype(np.float32)


def nearest_cells(
    representations: Sequence[FloatArray], n_nearest: int, seed: int
) -> dict[str, IntArray]:
    """Return the nearest cells of each cell by the name of each graph: shape (n_cells, n_nearest) each, nearest first.

    Parameters
    ----------
    representations
        Arrays of float32, shape (n_cells, n_comps) each, of the same cells; the leading components first.
    """
    from scrcl.graph.knn import knn

    found: dict[str, IntArray] = {}
    for number, scores in enumerate(representations):
        for n_comps in sorted({min(n, scores.shape[1]) for n in _COMPS}):
            points = np.ascontiguousarray(scores[:, :n_comps])
            k = min(n_nearest, len(points) - 1)
            found[f"{number}.{n_comps}"] = knn(points, k, seed=seed).ids
    return found


def vote(nearest: Mapping[str, IntArray], n_neighbors: int, seed: int) -> Csr:
    """Return the graph of all representations, weighted by agreement.

    Parameters
    ----------
    nearest
        The nearest cells of each cell in each graph, of which the first ``n_neighbors`` count.

    Returns
    -------
    csr_matrix, shape (n_cells, n_cells)
        Symmetric. The weight of an edge is the share of graphs that have it, times the square of the share of
        partitions in which its ends are in one community.
    """
    from scipy.sparse import csr_matrix

    graphs, partitions = [], []
    for name, ids in nearest.items():
        graph = graph_of_neighbours(ids[:, :n_neighbors])
        communities = leiden_of(graph, seed=seed, name=f"cluster.vote.{name}", n_iterations=2)
        graphs.append(graph)
        partitions += [communities(resolution) for resolution in _RESOLUTIONS]
    union = reduce(add, graphs).tocoo()
    agreement = np.zeros(union.nnz)
    for partition in partitions:
        agreement += partition[union.row] == partition[union.col]
    agreement /= len(partitions)
    weights = union.data / len(graphs) * agreement**2
    kept = weights > 0
    return csr_matrix((weights[kept], (union.row[kept], union.col[kept])), shape=union.shape)


def fewer_neighbors(n_neighbors: int, n_cells: int) -> int:
    """Return the number of neighbours in the graphs of some cells: fewer below about a thousand cells.

    If a cell has more neighbours than its type has cells, types run together before any community is found.
    """
    return min(n_neighbors, max(_FEWEST_NEIGHBORS, round(math.sqrt(n_cells) / 2)))


def _rare_regions(
    spaces: Spaces, settings: ClusterSettings, n_drawn: int
) -> tuple[IntArray, IntArray]:
    """Return cells of small groups and around these, which are looked at besides the drawn ones, and their groups."""
    from scrcl.cluster.rare_regions import rare_regions

    if n_drawn == len(spaces.points) or spaces.nearest is None or not settings.rare_cells:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return rare_regions(spaces.nearest, n_drawn=n_drawn, most=settings.vote_cells // 2)


def _found_whole(labels: IntArray, is_drawn: BoolArray, n_rare: int) -> BoolArray:
    """Return which clusters are rare types that no other cell joins, shape (n_clusters,).

    Of a type that was found in rare regions most cells are from there, and so are all of its cells. In the embedding
    its mean may be among cells of a large cluster.
    """
    n_clusters = int(labels.max()) + 1
    n_drawn = np.bincount(labels[is_drawn], minlength=n_clusters)
    is_rare = np.arange(n_clusters) >= n_clusters - n_rare
    whole: BoolArray = is_rare & (2 * n_drawn < np.bincount(labels, minlength=n_clusters))
    return whole


def _supported(
    spaces: Spaces,
    cells: IntArray,
    is_drawn: BoolArray,
    cores: IntArray,
    settings: ClusterSettings,
    seed: int,
) -> tuple[Evidence, NDArray[np.int64], int]:
    """Return the evidence of some cells, their clusters, shape (n_some,), and how many of the last are rare types.

    Only drawn cells form communities: dense regions that were chosen would look like types.
    """
    assert spaces.scores is not None
    if spaces.representations is None:
        found = Representations([np.asarray(spaces.scores[cells, :MOST_COMPS], np.float32)])
    else:
        found = spaces.representations(cells)
    valleys = [rows[:, :VALLEY_COMPS] for rows in found.scores]
    uncorrected = found.uncorrected and found.uncorrected.leading(VALLEY_COMPS)
    evidence = Evidence(cells, valleys, seed=seed, uncorrected=uncorrected)
    of_drawn = (
        evidence
        if is_drawn.all()
        else Evidence(
            cells[is_drawn],
            [rows[is_drawn] for rows in valleys],
            seed=seed,
            uncorrected=uncorrected and uncorrected.of(is_drawn),
        )
    )
    n_drawn = len(of_drawn.cells)
    n_neighbors = settings.n_neighbors or fewer_neighbors(spaces.n_neighbors, n_drawn)
    scores = [rows[is_drawn] for rows in found.scores]
    nearest = nearest_cells(scores, max(n_neighbors, N_NEAREST), seed)
    graph = vote(nearest, n_neighbors, seed)
    communities = leiden_of(graph, seed=seed, name="cluster.vote", n_iterations=2)(1.0)
    part = merge_unsupported(of_drawn, communities, settings.least_support)
    supported = part[communities]
    if not is_drawn.all():
        nearest = nearest_cells(found.scores, N_NEAREST, seed)
        supported = _of_nearest(side_by_side(valleys), supported, is_drawn)
    if not settings.rare_cells:
        return evidence, supported, 0
    rows = [np.asarray(scores[:, :MOST_COMPS]) for scores in found.scores]
    fewest = settings.rare_cells
    near = list(nearest.values())
    return evidence, *with_rare_types(supported, rows, near, fewest=fewest, known_cores=cores)


def _of_nearest(
    points: FloatArray, labels: NDArray[np.int64], is_drawn: BoolArray
) -> NDArray[np.int64]:
    """Return clusters of all cells: others than the drawn ones have that of the nearest drawn cell."""
    from scrcl.graph.kmeans import assign

    found = np.empty(len(points), np.int64)
    found[is_drawn] = labels
    found[~is_drawn] = labels[assign(points[~is_drawn], points[is_drawn])]
    return found
