"""Communities that several representations of the same cells agree on, merged where no valley parts them.

Communities of the graph that all representations agree on (`scrcl.cluster.agreement`) are the start. They cut dominant
types and tails into pieces, so those without a valley between them are merged (`scrcl.cluster.merging`). Rare types,
which are in no community of their own, are added (`scrcl.cluster.rare`). Large clusters are divided once more where
components of their own show a valley (`scrcl.cluster.divided`). What is left is the number of clusters that the data
supports.

Another number is cut from a tree. Its upper part joins these clusters: those first that are near in all
representations side by side, and parted by a low barrier (`scrcl.cluster.merging.join_order`). Its lower part divides
them, the clearest splits first (`scrcl.cluster.finer`), and in the end by damped average linkage in the embedding.
Figures: `bench/results/accuracy/2026-11-30-2cpu-types.md`, `2026-12-01-2cpu-finer.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.agreement import (
    MOST_COMPS,
    fewer_neighbors,
    merged_communities,
    nearest_cells,
    of_nearest,
    side_by_side,
)
from scrcl.cluster.algorithms.leiden import of_all_cells
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.counted import VALLEY_COMPS, counted
from scrcl.cluster.divided import divide_large
from scrcl.cluster.evidence import Evidence
from scrcl.cluster.finer import Finer, Halving, divide_further
from scrcl.cluster.merging import join_order
from scrcl.cluster.micro import micro_clusters_inside, summarise
from scrcl.cluster.protocol import Grouping, Representations
from scrcl.cluster.rare import N_NEAREST, with_rare_types
from scrcl.cluster.tree import Hierarchy, Joins
from scrcl.cluster.vote_notes import (
    note_of_divided,
    note_of_joined,
    note_of_rare,
    note_of_whole,
)
from scrcl.io.arrays import SMALL_MAP_BYTES, gathered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.cluster.agreement import Communities
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["by_vote"]

_LEVEL_BELOW = 2
"""Parts of each cluster one level down (`scrcl.cluster.levels`). That many are divided by their clearest splits."""


class _Supported(NamedTuple):
    """The clusters that the data supports, of some cells."""

    evidence: Evidence
    labels: NDArray[np.int64]
    """shape (n_some,)"""
    n_rare: int
    """how many of the last clusters are rare types"""
    communities: Communities
    """what the clusters were merged from, except for rare types"""

    @property
    def n_clusters(self) -> int:
        return int(self.labels.max()) + 1

    def divided(self, n_parts: int, points: FloatArray, halving: Halving, seed: int) -> Finer:
        """Return the clusters divided further, by their clearest splits; ``points`` are the same cells embedded."""
        return divide_further(
            self.evidence,
            points,
            self.labels,
            self.communities,
            n_parts,
            halving=halving,
            seed=seed,
        )


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
    found = _supported(spaces, cells, is_drawn, cores, settings, seed)
    found, n_divided = _divided(spaces, found, is_drawn, n_clusters, settings, seed)
    evidence, supported, n_rare, _ = found
    n_supported = found.n_clusters
    wanted = n_clusters or n_supported
    some_points = np.asarray(gathered(points, cells, above=SMALL_MAP_BYTES), np.float32)
    n_micro = settings.n_micro_clusters(n_cells, wanted)
    cost = MergeCost(settings.size_power)
    finer = Finer(supported, [])
    # Where parts of whole clusters are supported, but not asked for, joining these is worse than halving whole ones.
    if n_divided is not None and wanted >= n_divided:
        smallest = settings.smallest_in_subset(len(cells), n_cells)
        halving = Halving(n_micro, cost, smallest, spaces.device)
        finer = found.divided(_LEVEL_BELOW * wanted, some_points, halving, seed)
    some_labels, means, finer_of_micro = micro_clusters_inside(
        some_points, finer.labels, n_micro, seed=seed, device=spaces.device
    )
    if wanted > len(finer_of_micro):
        return by_linkage(spaces, wanted, settings=settings, seed=seed)
    cluster_of_finer = np.empty(int(finer.labels.max()) + 1, np.int32)
    cluster_of_finer[finer.labels] = supported
    cluster_of_micro = cluster_of_finer[finer_of_micro]
    whole = _found_whole(supported, is_drawn, n_rare)
    micro_labels = of_all_cells(points, cells, some_labels, means, ~whole[cluster_of_micro])
    summary = summarise(points, micro_labels)
    joint = side_by_side(evidence.spaces)
    order = join_order(evidence, supported, joint, settings.size_power, n_rare=n_rare)
    joins = Joins(finer_of_micro, finer.joins + order)
    supported_of_micro = cluster_of_micro
    if wanted != n_supported:
        tree = Hierarchy(summary, supported_of_micro, cost, joins)
        cluster_of_micro = tree.cut(wanted, smallest=settings.smallest_cells)
    note = _note(wanted, found, n_divided, supported_of_micro, cluster_of_micro, summary.sizes)
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


def _note(
    wanted: int,
    found: _Supported,
    n_divided: int | None,
    supported_of_micro: IntArray,
    cluster_of_micro: IntArray,
    micro_sizes: FloatArray,
) -> str | None:
    """Return what the user should know about the number of clusters; None for nothing."""
    n_supported = found.n_clusters
    n_in_all = n_divided or n_supported
    if wanted > n_supported:
        return note_of_divided(wanted, n_supported, n_in_all)
    if wanted < n_supported:
        return note_of_joined(
            supported_of_micro, cluster_of_micro, micro_sizes, left_whole=n_divided is None
        )
    sizes = np.bincount(supported_of_micro, micro_sizes).astype(np.int64)
    notes = note_of_rare(sizes[n_supported - found.n_rare :]), note_of_whole(n_supported, n_in_all)
    return " ".join(filter(None, notes)) or None


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
) -> _Supported:
    """Return the supported clusters of some cells, before large ones are divided.

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
    communities = merged_communities(
        nearest, n_neighbors, of_drawn, settings.least_support, seed=seed
    )
    if not is_drawn.all():
        nearest = nearest_cells(found.scores, N_NEAREST, seed)
        of_all = of_nearest(side_by_side(valleys), communities.labels, is_drawn)
        communities = communities._replace(labels=of_all)
    supported = communities.merged()
    n_rare = 0
    if settings.rare_cells:
        rows = [np.asarray(scores[:, :MOST_COMPS]) for scores in found.scores]
        fewest = settings.rare_cells
        near = list(nearest.values())
        supported, n_rare = with_rare_types(supported, rows, near, fewest=fewest, known_cores=cores)
    return _Supported(evidence, supported, n_rare, communities)


def _divided(
    spaces: Spaces,
    found: _Supported,
    is_drawn: BoolArray,
    n_clusters: int | None,
    settings: ClusterSettings,
    seed: int,
) -> tuple[_Supported, int | None]:
    """Return the clusters with large ones divided once more, and how many the data supports so; None if not looked at.

    If fewer are asked for, large ones stay whole: joining what was divided gives worse clusters than dividing the
    whole ones in the embedding (worm neurons, ARI at the number of types .21 and .49).
    """
    if spaces.inside is None or not settings.divide_cells:
        return found, found.n_clusters
    if n_clusters is not None and n_clusters < found.n_clusters:
        return found, None
    labels, inside = divide_large(
        spaces.inside,
        found.evidence,
        found.labels,
        is_drawn=is_drawn,
        n_rare=found.n_rare,
        n_neighbors=settings.n_neighbors or spaces.n_neighbors,
        settings=settings,
        seed=seed,
    )
    divided = found._replace(labels=labels)
    if n_clusters is not None and n_clusters < divided.n_clusters:
        return found, divided.n_clusters
    for each in inside:
        found.evidence.compare_inside(*each)
    return divided, divided.n_clusters
