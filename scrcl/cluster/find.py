"""From an embedding to K clusters, their tree, and extra cuts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.levels import levels_of, rank_by_size
from scrcl.cluster.micro import summarise, summarise_clusters
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.table import ALGORITHMS
from scrcl.cluster.tree import Hierarchy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.cluster.levels import Levels
    from scrcl.cluster.protocol import Choice, Grouping
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Clusters", "cluster", "find_clusters"]


class Clusters(NamedTuple):
    """A clustering, its trees, and the means by which new cells are assigned."""

    labels: NDArray[np.int32]
    """shape (n_cells,)"""
    micro_means: NDArray[np.float32]
    """shape (n_micro, n_dims); the clusters themselves if the algorithm has no micro-clusters"""
    cluster_of_micro: NDArray[np.int32]
    """shape (n_micro,)"""
    micro_sizes: NDArray[np.int64]
    """shape (n_micro,): number of cells"""
    cluster_means: NDArray[np.float32]
    """shape (n_clusters, n_dims)"""
    cluster_tree: NDArray[np.float64]
    """shape (n_clusters - 1, 4): see `linkage_matrix`; leaves are the clusters"""
    micro_tree: NDArray[np.float64]
    """shape (n_micro - 1, 4); leaves are the micro-clusters, those of one cluster are joined first"""
    extra_cuts: dict[int, NDArray[np.int32]]
    """labels of each extra cut, by its number of clusters; largest cluster first"""
    nested: dict[int, bool]
    """whether each extra cut joins or divides the clusters"""
    notes: list[str]
    """what the user should know"""
    choice: Choice | None
    """what ``auto`` chose; None for other algorithms"""
    levels: Levels | None
    """coarser and finer clusters, and how far each split is supported; None if no split was tested"""


def cluster(
    points: FloatArray,
    n_clusters: int | None,
    *,
    settings: ClusterSettings,
    seed: int,
    scores: FloatArray | None = None,
    overlap: float = 1.0,
    around: IntArray | None = None,
) -> IntArray:
    """Return only the labels of `find_clusters`.

    Parameters
    ----------
    points, scores, overlap, around
        See `scrcl.cluster.protocol.Spaces`.
    """
    spaces = Spaces(points, scores, overlap=overlap, around=around)
    return find_clusters(spaces, n_clusters, settings=settings, seed=seed).labels


def find_clusters(
    spaces: Spaces, n_clusters: int | None, *, settings: ClusterSettings, seed: int
) -> Clusters:
    """Cluster the cells into ``n_clusters``, or as many as the data supports, and into each number of ``cluster.also``.

    Returns
    -------
    Clusters
        Labels 0 .. n_clusters - 1, largest cluster first. Memory grows by that of `kmeans`, and by four bytes a cell
        for each extra cut.

    Raises
    ------
    InputError
        There are fewer cells than clusters.
    """
    algorithm = ALGORITHMS[settings.algorithm]
    found = algorithm(spaces, n_clusters, settings=settings, seed=seed)
    cluster_of_micro = _by_size(found.cluster_of_micro, found.micro_labels)
    summary = found.summary or summarise(spaces.points, found.micro_labels)
    tree = Hierarchy(summary, cluster_of_micro, found.cost, found.joins)
    extra_cuts: dict[int, NDArray[np.int32]] = {}
    nested: dict[int, bool] = {}
    notes = [found.note] if found.note else _too_few(cluster_of_micro, n_clusters)
    for k in settings.also:
        nested[k] = k <= tree.n_micro
        if nested[k]:
            extra, micro_labels = tree.cut(k, smallest=settings.smallest_cells), found.micro_labels
        else:
            other = algorithm(spaces, k, settings=settings, seed=seed)
            extra, micro_labels = other.cluster_of_micro, other.micro_labels
            notes.append(_not_nested(k, settings.algorithm, tree.n_micro, other))
            if other.note is not None:
                notes.append(other.note)
        extra_cuts[k] = _by_size(extra, micro_labels)[micro_labels]
    return Clusters(
        labels=cluster_of_micro[found.micro_labels],
        micro_means=found.micro_means,
        cluster_of_micro=cluster_of_micro,
        micro_sizes=np.bincount(found.micro_labels, minlength=len(cluster_of_micro)),
        cluster_means=summarise_clusters(summary, cluster_of_micro).means.astype(np.float32),
        cluster_tree=tree.cluster_tree(),
        micro_tree=tree.micro_tree(),
        extra_cuts=extra_cuts,
        nested=nested,
        notes=notes,
        choice=found.choice,
        levels=None
        if found.evidence is None
        else levels_of(tree, found.micro_labels, found.evidence, smallest=settings.smallest_cells),
    )


def _by_size(cluster_of_micro: IntArray, micro_labels: IntArray) -> NDArray[np.int32]:
    """Return the cluster of each micro-cluster, numbered by size: the one with the most cells is 0."""
    micro_sizes = np.bincount(micro_labels, minlength=len(cluster_of_micro))
    return rank_by_size(np.bincount(cluster_of_micro, micro_sizes))[cluster_of_micro]


def _too_few(cluster_of_micro: IntArray, n_clusters: int | None) -> list[str]:
    n_found = int(cluster_of_micro.max()) + 1
    if n_clusters is None or n_found == n_clusters:
        return []
    return [f"Found {n_found} clusters instead of {n_clusters}, because too few cells differ."]


def _not_nested(k: int, algorithm: str, n_micro: int, other: Grouping) -> str:
    n_found = int(other.cluster_of_micro.max()) + 1
    fewer = "" if n_found == k else f" It found {n_found}."
    return (
        f"The {k} clusters of cluster.also do not nest in the others: {algorithm} has only {n_micro} parts to cut, so "
        f"it ran again for {k} clusters.{fewer}"
    )
