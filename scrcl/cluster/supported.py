"""The clusters that the data supports, of some cells.

Communities of the graph that all representations agree on (`scrcl.cluster.agreement`) are the start. They cut dominant
types and tails into pieces, so those without a valley between them are merged (`scrcl.cluster.merging`). Rare types,
which are in no community of their own, are added (`scrcl.cluster.rare`). Large clusters are divided once more where
components of their own show a valley (`scrcl.cluster.divided`). What is left are the supported clusters.

Figures: `bench/results/accuracy/2026-11-30-2cpu-types.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.cluster.agreement import (
    MOST_COMPS,
    fewer_neighbors,
    merged_communities,
    nearest_cells,
    of_nearest,
    side_by_side,
)
from scrcl.cluster.divided import divide_large
from scrcl.cluster.evidence import evidence_of
from scrcl.cluster.protocol import Representations
from scrcl.cluster.rare import N_NEAREST, with_rare_types
from scrcl.cluster.rare_regions import rare_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.cluster.agreement import Communities
    from scrcl.cluster.evidence import Evidence
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import BoolArray, IntArray

__all__ = ["Supported", "Voters", "divided", "supported_clusters"]


class Voters(NamedTuple):
    """The cells that are looked at: drawn ones, and those of regions that may hold a rare type."""

    cells: IntArray
    """their positions among all cells, ascending"""
    is_drawn: BoolArray
    """shape (n_some,). Only these form communities: dense regions that were chosen would look like types"""
    cores: IntArray
    """shape (n_some,): the small group of a rare region that a cell is in, -1 for none"""

    @classmethod
    def of(cls, spaces: Spaces, settings: ClusterSettings, seed: int) -> Voters:
        """Draw at most ``cluster.vote_cells``, and add those of rare regions if that leaves cells out."""
        n_cells = len(spaces.points)
        drawn = drawn_rows(n_cells, settings.vote_cells, seed, "cluster.vote.cells")
        if len(drawn) == n_cells or spaces.nearest is None or not settings.rare_cells:
            return cls(drawn, np.ones(len(drawn), bool), np.full(len(drawn), -1))
        regions, groups = rare_regions(
            spaces.nearest, n_drawn=len(drawn), most=settings.vote_cells // 2
        )
        cells = np.union1d(drawn, regions)
        cores = np.full(len(cells), -1)
        cores[np.searchsorted(cells, regions)] = groups
        return cls(cells, np.isin(cells, drawn), cores)


class Supported(NamedTuple):
    """The clusters of some cells, and what they were made from."""

    voters: Voters
    evidence: Evidence
    """of the same cells"""
    communities: Communities
    """what the clusters were merged from, except for rare types"""
    labels: NDArray[np.int64]
    """shape (n_some,): from 0 and without gaps"""
    n_rare: int
    """how many of the last clusters are rare types"""
    n_divided: int | None = None
    """how many clusters there are with large ones divided; None if none was looked into"""

    @property
    def n_clusters(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1

    def found_whole(self) -> BoolArray:
        """Return which clusters are rare types that no other cell joins, shape (n_clusters,).

        Of a type that was found in rare regions most cells are from there, and so are all of its cells. In the
        embedding its mean may be among cells of a large cluster.
        """
        n_drawn = np.bincount(self.labels[self.voters.is_drawn], minlength=self.n_clusters)
        is_rare = np.arange(self.n_clusters) >= self.n_clusters - self.n_rare
        whole: BoolArray = is_rare & (2 * n_drawn < np.bincount(self.labels))
        return whole


def supported_clusters(
    spaces: Spaces, voters: Voters, *, settings: ClusterSettings, seed: int
) -> Supported:
    """Return the supported clusters of some cells, before large ones are divided.

    Parameters
    ----------
    spaces
        With component scores.
    """
    assert spaces.scores is not None
    cells, is_drawn = voters.cells, voters.is_drawn
    if spaces.representations is None:
        found = Representations([np.asarray(spaces.scores[cells, :MOST_COMPS], np.float32)])
    else:
        found = spaces.representations(cells)
    all_drawn = bool(is_drawn.all())
    drawn = found if all_drawn else found.of(is_drawn)
    evidence = evidence_of(cells, found, seed)
    of_drawn = evidence if all_drawn else evidence_of(cells[is_drawn], drawn, seed)
    n_neighbors = settings.n_neighbors or fewer_neighbors(spaces.n_neighbors, len(of_drawn.cells))
    nearest = nearest_cells(drawn.scores, max(n_neighbors, N_NEAREST), seed)
    communities = merged_communities(
        nearest, n_neighbors, of_drawn, settings.least_support, seed=seed
    )
    if not all_drawn:
        nearest = nearest_cells(found.scores, N_NEAREST, seed)
        of_all = of_nearest(side_by_side(evidence.spaces), communities.labels, is_drawn)
        communities = communities._replace(labels=of_all)
    labels, n_rare = communities.merged(), 0
    if settings.rare_cells:
        labels, n_rare = with_rare_types(
            labels,
            [np.asarray(scores[:, :MOST_COMPS]) for scores in found.scores],
            list(nearest.values()),
            fewest=settings.rare_cells,
            known_cores=voters.cores,
        )
    return Supported(voters, evidence, communities, labels, n_rare)


def divided(
    found: Supported,
    spaces: Spaces,
    n_clusters: int | None,
    *,
    settings: ClusterSettings,
    seed: int,
) -> Supported:
    """Return the clusters with large ones divided once more, unless fewer than these are asked for.

    If fewer are asked for, large ones stay whole: joining what was divided gives worse clusters than dividing the
    whole ones in the embedding (worm neurons, ARI at the number of types .21 and .49).
    """
    if spaces.inside is None or not settings.divide_cells:
        return found._replace(n_divided=found.n_clusters)
    if n_clusters is not None and n_clusters < found.n_clusters:
        return found
    labels, inside = divide_large(
        spaces.inside,
        found.evidence,
        found.labels,
        is_drawn=found.voters.is_drawn,
        n_rare=found.n_rare,
        n_neighbors=settings.n_neighbors or spaces.n_neighbors,
        settings=settings,
        seed=seed,
    )
    n_divided = int(labels.max()) + 1
    if n_clusters is not None and n_clusters < n_divided:
        return found._replace(n_divided=n_divided)
    for each in inside:
        found.evidence.compare_inside(*each)
    return found._replace(labels=labels, n_divided=n_divided)
