"""From an embedding to K clusters, their tree, and further clusterings cut from it.

A further algorithm is a file in `scrcl.cluster.algorithms`, and its line in `scrcl.cluster.table`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.agglomerate import summarise
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.table import WAYS
from scrcl.cluster.tree import Hierarchy, united

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.cluster.protocol import Choice, Grouping
    from scrcl.cluster.settings import ClusterConfig
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Clusters", "cluster", "find_clusters", "rank_by_size"]


class Clusters(NamedTuple):
    """A clustering, what a further point is assigned by (the cluster of the nearest centre), and its tree."""

    labels: NDArray[np.int32]
    """shape (n_cells,)"""
    centres: NDArray[np.float32]
    """shape (n_centres, n_dims): those of groups of cells, or of the clusters themselves"""
    owners: NDArray[np.int32]
    """shape (n_centres,): the cluster of each"""
    sizes: NDArray[np.int64]
    """shape (n_centres,): cells of each group"""
    centroids: NDArray[np.float32]
    """shape (n_clusters, n_dims): the mean of each cluster"""
    tree: NDArray[np.float64]
    """shape (n_clusters - 1, 4): see `linkage_matrix`; leaves are the clusters"""
    group_tree: NDArray[np.float64]
    """shape (n_centres - 1, 4): the same of the groups; those of one cluster are joined first"""
    also: dict[int, NDArray[np.int32]]
    """Labels of the clusterings into other numbers, each largest cluster first"""
    nested: dict[int, bool]
    """Whether these are cuts of the tree"""
    notes: list[str]
    """What the user should know"""
    choice: Choice | None
    """What `cluster.method` took, where it chose"""


def cluster(
    points: FloatArray,
    n_clusters: int,
    *,
    config: ClusterConfig,
    seed: int,
    scores: FloatArray | None = None,
) -> IntArray:
    """Return the labels alone of `find_clusters` on points and, where given, components of the same cells."""
    return find_clusters(Spaces(points, scores), n_clusters, config=config, seed=seed).labels


def find_clusters(spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int) -> Clusters:
    """Cluster the cells into ``n_clusters``, and into each number of ``cluster.also``.

    Returns
    -------
    Clusters
        0 .. n_clusters - 1, largest cluster first. Memory grows by that of `kmeans`, and by four bytes a cell for
        each further clustering.

    Raises
    ------
    InputError
        There are fewer cells than clusters.
    """
    found = WAYS[config.method](spaces, n_clusters, config=config, seed=seed)
    owners = _by_size(found.owners, found.groups)
    summary = found.summary or summarise(spaces.points, found.groups)
    tree = Hierarchy(summary, owners, size_power=found.size_power, spreads=found.spreads)
    also: dict[int, NDArray[np.int32]] = {}
    nested: dict[int, bool] = {}
    notes = [found.note] if found.note else _too_few(owners, n_clusters)
    for k in config.also:
        nested[k] = k <= tree.n_groups
        if nested[k]:
            cut, groups = tree.cut(k, smallest=config.smallest_cells), found.groups
        else:
            anew = WAYS[config.method](spaces, k, config=config, seed=seed)
            cut, groups = anew.owners, anew.groups
            notes.append(_not_nested(k, config.method, anew))
            if anew.note is not None:
                notes.append(anew.note)
        also[k] = _by_size(cut, groups)[groups]
    return Clusters(
        owners[found.groups],
        found.centres,
        owners,
        np.bincount(found.groups, minlength=len(owners)),
        united(summary, owners).centroids.astype(np.float32),
        tree.of_clusters(),
        tree.of_groups(),
        also,
        nested,
        notes,
        found.choice,
    )


def _by_size(owners: IntArray, groups: IntArray) -> NDArray[np.int32]:
    """Rename clusters by their number of cells, largest first."""
    return rank_by_size(np.bincount(owners, np.bincount(groups, minlength=len(owners))))[owners]


def rank_by_size(sizes: FloatArray | IntArray) -> NDArray[np.int32]:
    """Return the new name of each cluster: the largest first, ties in their order."""
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes), dtype=np.int32)
    return rank


def _too_few(owners: IntArray, n_clusters: int) -> list[str]:
    n_found = int(owners.max()) + 1
    if n_found == n_clusters:
        return []
    return [f"{n_found} clusters were found and not {n_clusters}: too few cells differ."]


def _not_nested(k: int, method: str, anew: Grouping) -> str:
    n_found = int(anew.owners.max()) + 1
    found = "" if n_found == k else f" {n_found} were found."
    return (
        f"The {k} clusters of cluster.also are not parts of the others: {method} has too few groups "
        f"to cut into so many, and was run anew.{found}"
    )
