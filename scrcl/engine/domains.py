"""Domains of a tissue: clusters refined by the spots around, and the graph that they are counted in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.covariates import read_named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.cluster.find import Clusters
    from scrcl.engine.stage import Run
    from scrcl.io.labels import CellLabels
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["graph_in_tissue", "refined"]


def refined(run: Run, found: Clusters, folder: Path) -> tuple[Clusters, dict[str, Any]]:
    """Give every spot the cluster of most spots around it, where ``cluster.refine_labels`` asks for it.

    Writes ``unrefined.npy`` there: the clusters before, int32 of shape (n_cells,), by the new names.

    Returns
    -------
    Clusters
        Named anew, largest first. A cluster that no spot has any more has a name behind the others. The tree and the
        centroids are those of the clusters before; a note says how many were lost. Coarser cuts join the refined
        clusters; finer ones are refined by themselves, so that they are no longer parts of the others.
    dict
        What the stage records of domains: nothing where the run is not spatial.
    """
    if not run.config.spatial:
        return found, {}
    from scrcl.cluster.find import rank_by_size
    from scrcl.graph.domains import coherence, majority_labels

    ids = run.array("graph", "ids")
    if not run.config.refined_by:
        return found, {"coherence": coherence(found.labels, ids)._asdict()}
    coordinates, samples = _places(run)

    def voted(labels: IntArray) -> NDArray[np.int32]:
        return majority_labels(labels, coordinates, run.config.refined_by, samples=samples)

    labels, n_before = voted(found.labels), len(found.centroids)
    rank = rank_by_size(np.bincount(labels, minlength=n_before))
    before, lost = rank[found.labels], n_before - len(np.unique(labels))
    np.save(folder / "unrefined.npy", before)
    coarser = {k: cut for k, cut in found.also.items() if found.nested[k] and k <= n_before}
    also = {
        k: _joined(labels, found.labels, cut) if k in coarser else voted(cut)
        for k, cut in found.also.items()
    }
    renamed = _renamed(found, rank)._replace(
        labels=rank[labels],
        also={k: rank_by_size(np.bincount(cut))[cut] for k, cut in also.items()},
        nested={k: k in coarser for k in found.also},
        notes=[*found.notes, *([_lost(lost)] if lost else []), *_of_cuts(also, coarser)],
    )
    share = coherence(before, ids).share
    return renamed, {
        "coherence": {**coherence(renamed.labels, ids)._asdict(), "unrefined": share},
        "n_clusters_unrefined": n_before,
        "n_refined": int(np.count_nonzero(renamed.labels != before)),
    }


def _joined(labels: IntArray, before: IntArray, cut: IntArray) -> NDArray[np.int32]:
    """Join refined labels as ``cut`` joins the clusters before."""
    owners = np.zeros(int(before.max()) + 1, np.int32)
    owners[before] = cut
    return np.asarray(owners[labels])


def graph_in_tissue(run: Run) -> Callable[[IntArray], Csr]:
    """Return what makes a graph of some cells: each joined to the nearest of them in its slice."""
    from scrcl.graph.csr import connectivities, symmetric_graph
    from scrcl.graph.spatial import spatial_knn

    coordinates, samples = _places(run)

    def graph_of(cells: IntArray) -> Csr:
        k = min(run.config.graph.n_neighbors, len(cells) - 1)
        theirs = None if samples is None else samples.of(cells)
        return connectivities(
            symmetric_graph(spatial_knn(coordinates[cells], k, samples=theirs).ids)
        )

    return graph_of


def _places(run: Run) -> tuple[FloatArray, CellLabels | None]:
    """Return the coordinates and the slices of the cells of a spatial run."""
    from scrcl.prep.stats import MatrixStats

    named = read_named(run.matrix, run.config).of(MatrixStats.load(run.stage("stats")).retained)
    assert named.coordinates is not None, "a spatial run without places is refused"
    return named.coordinates, named.samples


def _renamed(found: Clusters, rank: NDArray[np.int32]) -> Clusters:
    """Give cluster i the name ``rank[i]`` in all but the further clusterings, which have names of their own."""
    tree = found.tree.copy()
    leaves = tree[:, :2] < len(rank)
    tree[:, :2][leaves] = rank[tree[:, :2][leaves].astype(np.int64)]
    return found._replace(
        labels=rank[found.labels],
        owners=rank[found.owners],
        centroids=found.centroids[np.argsort(rank)],
        tree=tree,
    )


def _lost(n_lost: int) -> str:
    return (
        f"{n_lost} clusters went into those around when labels were refined (obs scrcl_unrefined has them; a "
        "lower cluster.refine_labels keeps more)."
    )


def _of_cuts(also: Mapping[int, IntArray], coarser: Collection[int]) -> list[str]:
    """Return what the user should know of refined clusterings into other numbers."""
    notes = []
    for k, cut in also.items():
        n_found = len(np.unique(cut))
        fewer = "" if n_found == k else f"; {n_found} are left"
        if k not in coarser:
            notes.append(
                f"The {k} clusters of cluster.also were refined by themselves and are no parts of the others{fewer}."
            )
        elif fewer:
            notes.append(f"Of the {k} clusters of cluster.also some have no spot any more{fewer}.")
    return notes
