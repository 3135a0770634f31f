"""The tree of the clusters under scanpy's key, so that its plots order clusters by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import FloatArray

__all__ = ["scanpy_dendrogram"]


def scanpy_dendrogram(
    tree: FloatArray, means: FloatArray, n_clusters: int, *, groupby: str
) -> dict[str, Any]:
    """Return scanpy's ``uns["dendrogram_<groupby>"]``, of the run's own tree.

    Parameters
    ----------
    tree
        ndarray of float64, shape (n_leaves - 1, 4), in the form of scipy's ``linkage``.
    means
        ndarray of float, shape (n_leaves, n_dims): cluster means, for the correlations.
    n_clusters
        Clusters that have cells: the first leaves. At least two.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    rows = np.array(tree, np.float64)
    rows[:, 2] = np.sqrt(rows[:, 2])  # costs are squared distances
    # Heights at which two clusters meet. Leaves without cells drop out, the others keep their order.
    meet = squareform(hierarchy.cophenet(rows))[:n_clusters, :n_clusters]
    linkage = hierarchy.linkage(squareform(meet, checks=False), "average")
    names = [str(i) for i in range(n_clusters)]
    drawn = hierarchy.dendrogram(linkage, labels=names, no_plot=True)
    return {
        "linkage": linkage,
        "groupby": [groupby],
        "use_rep": "X_scrcl",
        "cor_method": "pearson",
        "linkage_method": "average",
        "categories_ordered": list(drawn["ivl"]),
        "categories_idx_ordered": list(drawn["leaves"]),
        "dendrogram_info": {
            name: np.asarray(drawn[name]) for name in ("icoord", "dcoord", "ivl", "leaves")
        },
        "correlation_matrix": np.corrcoef(np.asarray(means[:n_clusters], np.float64)),
    }
