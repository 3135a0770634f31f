"""What a finished run says, as AnnData keys: one place for the names that users see.

========================================  =================================================
``obs["scrcl"]``                          cluster, categorical, largest cluster first
``obs["scrcl_confidence"]``               how sure that is, 0 to 1, float32 (`scrcl.cluster.confidence`)
``obs["scrcl_k8"]``, ...                  the same cells in 8 clusters, ..., as ``cluster.also`` names them
``obsm["X_scrcl"]``                       what was clustered: E, E^g or Z, float32
``obsm["X_pca"]``                         principal component scores, float32
``obsp["scrcl_distances"]``               Euclidean distances of the k nearest neighbours
``obsp["scrcl_connectivities"]``          binary symmetric graph that the model learned from
``uns["scrcl"]``                          settings, versions, history; a ``neighbors_key`` for scanpy
``uns["scrcl"]["tree"]``                  merge trees, below
``uns["scrcl"]["clusters_by"]``           what ``cluster.method=auto`` took, and the agreement that decided
``uns["scrcl"]["notes"]``                 what the user should know of the clusters, where there is something
``uns["scrcl"]["markers"]``               marker genes of each cluster
========================================  =================================================

A spatial run whose labels were refined has ``obs["scrcl_unrefined"]`` too, the clusters before it. Of a spatial run
``scrcl_distances`` are those in the tissue.

``tree`` holds ``clusters``, shape (n_clusters - 1, 4), and ``groups``, shape (n_groups - 1, 4), as
`scipy.cluster.hierarchy` reads them: a row a merge, with the two that are joined, the height and the leaves below.
Leaf i is cluster i, or group i of near cells; ``cluster_sizes`` and ``group_sizes`` are their cells, and
``group_clusters`` is the cluster of each group, whose own groups are joined first. Heights are costs
(`scrcl.cluster.agglomerate`), so squared distances times a power of cells.

A prediction has no ``obsp``; beside the others it has ``obs["scrcl_confidence"]``, ``obs["scrcl_margin"]``,
``obs["scrcl_familiarity"]`` (`scrcl.engine.predict.assign`) and ``uns["scrcl_colors"]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.device import versions

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.stage import Run
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = [
    "COLOURS",
    "CONFIDENCE",
    "OBSM",
    "OBSP",
    "Annotations",
    "collect",
    "without_ours",
    "write_into",
]

OBSM = ("X_scrcl", "X_pca")
OBSP = ("scrcl_distances", "scrcl_connectivities")
COLOURS = "scrcl_colors"
UNREFINED = "scrcl_unrefined"
CONFIDENCE = {
    "scrcl_confidence": "confidence",
    "scrcl_margin": "margin",
    "scrcl_familiarity": "familiarity",
}
"""Columns of a prediction, and the arrays of its stage ``cluster`` that they are."""

_CLUSTERS = re.compile(rf"scrcl(_k\d+)?|{UNREFINED}")
"""Columns of clusters; those of an earlier run do not outlive a later one."""


@dataclass(frozen=True)
class Annotations:
    """The keys of a run for the cells that were kept (``kept``, a mask over all cells)."""

    kept: BoolArray
    clusters: pd.Categorical
    further: dict[str, pd.Categorical | FloatArray]
    """Other columns of ``obs``."""
    obsm: dict[str, FloatArray]
    obsp: dict[str, Csr | da.Array]
    uns: dict[str, Any]


def collect(run: Run) -> Annotations:
    """Read the keys from the folders of the stages; large arrays and graphs stay on disk."""
    from scrcl.graph.csr import connectivities, distances_matrix
    from scrcl.io.results import pairs_in_blocks
    from scrcl.prep.stats import MatrixStats

    graph = run.graph("graph")
    ids, distances = run.array("graph", "ids"), run.array("graph", "distances")
    return Annotations(
        kept=MatrixStats.load(run.stage("stats")).retained,
        clusters=_categorical(run.array("cluster", "labels")),
        further={
            **_unrefined(run),
            "scrcl_confidence": np.asarray(run.array("cluster", "confidence")),
            **{
                f"scrcl_k{k}": _categorical(run.array("cluster", f"k{k}"))
                for k in run.config.cluster.also
            },
        },
        obsm={
            "X_scrcl": run.array("embed", run.config.clustered_on),
            "X_pca": run.array("reduce", "scores"),
        },
        obsp={
            "scrcl_distances": pairs_in_blocks(
                partial(distances_matrix, ids, distances), graph.n, ids.size
            ),
            "scrcl_connectivities": pairs_in_blocks(
                partial(connectivities, graph), graph.n, len(graph.indices)
            ),
        },
        uns=_uns(run),
    )


def _unrefined(run: Run) -> dict[str, pd.Categorical]:
    """Return the clusters before they were refined by the spots around, where they were."""
    if not run.config.refined_by:
        return {}
    return {UNREFINED: _categorical(run.array("cluster", "unrefined"))}


def without_ours(obs: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the columns of an earlier run."""
    return obs[[column for column in obs if not _is_ours(column)]]


def _is_of_clusters(column: object) -> bool:
    return _CLUSTERS.fullmatch(str(column)) is not None


def _is_ours(column: object) -> bool:
    return column in CONFIDENCE or _is_of_clusters(column)


def _forget(adata: AnnData) -> None:
    """Take away what an earlier run or prediction left: a part of it would pass for one of the later."""
    for column in list(filter(_is_ours, adata.obs)):
        del adata.obs[column]
    for keys, of in ((OBSP, adata.obsp), (("scrcl", COLOURS), adata.uns)):
        for key in keys:
            of.pop(key, None)


def write_into(adata: AnnData, result: AnnData, kept: BoolArray) -> None:
    """Copy the keys of ``result`` into ``adata``, whose rows ``kept`` it describes.

    Cells that are not kept (no counts, or filtered) get no cluster, NaN and no neighbours.
    """
    import pandas as pd

    at = np.flatnonzero(kept)
    _forget(adata)
    for key in filter(_is_of_clusters, result.obs):
        codes = np.full(adata.n_obs, -1, dtype=np.int64)
        codes[at] = result.obs[key].cat.codes
        categories = result.obs[key].cat.categories
        adata.obs[key] = pd.Categorical.from_codes(codes.tolist(), categories=categories)
    for key in OBSM:
        whole = np.full((adata.n_obs, result.obsm[key].shape[1]), np.nan, dtype=np.float32)
        whole[at] = result.obsm[key]
        adata.obsm[key] = whole
    for key in [key for key in CONFIDENCE if key in result.obs]:
        values = np.full(adata.n_obs, np.nan, dtype=np.float32)
        values[at] = result.obs[key]
        adata.obs[key] = values
    for key in [key for key in OBSP if key in result.obsp]:
        adata.obsp[key] = _spread(result.obsp[key], at, adata.n_obs)
    for key in [key for key in ("scrcl", COLOURS) if key in result.uns]:
        adata.uns[key] = result.uns[key]


def _categorical(labels: IntArray) -> pd.Categorical:
    import pandas as pd

    names = pd.Index([str(i) for i in range(int(labels.max()) + 1)])
    return pd.Categorical.from_codes(labels.tolist(), categories=names)


def _spread(matrix: Csr, at: Any, n: int) -> Csr:
    """Place the rows and columns of ``matrix`` at ``at`` of an ``n`` x ``n`` matrix."""
    from scipy.sparse import csr_matrix

    counts = np.zeros(n, dtype=np.int64)
    counts[at] = np.diff(matrix.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_matrix((matrix.data, at[matrix.indices], indptr), shape=(n, n))


def _uns(run: Run) -> dict[str, Any]:
    import pandas as pd

    train, cluster, graph = run.record("train"), run.record("cluster"), run.record("graph")
    history = pd.read_json(run.stage("train") / "history.json", orient="records")
    return {
        "connectivities_key": "scrcl_connectivities",
        "distances_key": "scrcl_distances",
        "params": {
            "n_neighbors": graph["n_neighbors"],
            "method": graph["backend"],
            "metric": "euclidean",
            "use_rep": "spatial" if run.config.spatial else "X_pca",
            "random_state": run.config.seed,
        },
        "config": _without_none(run.config.model_dump(mode="json")),
        "versions": versions(),
        "seed": run.config.seed,
        "n_clusters": cluster["n_clusters"],
        **({"clusters_by": _without_none(cluster["choice"])} if "choice" in cluster else {}),
        **({"notes": cluster["notes"]} if cluster["notes"] else {}),
        "graph_recall": graph["recall"],
        "device": train["device"],
        "tree": _tree(run),
        "history": {name: history[name].to_numpy() for name in history.columns},
    }


def _tree(run: Run) -> dict[str, np.ndarray]:
    labels, owners = run.array("cluster", "labels"), run.array("cluster", "owners")
    return {
        "clusters": np.asarray(run.array("cluster", "tree")),
        "cluster_sizes": np.bincount(labels, minlength=int(owners.max()) + 1),
        "groups": np.asarray(run.array("cluster", "group_tree")),
        "group_sizes": np.asarray(run.array("cluster", "sizes")),
        "group_clusters": np.asarray(owners),
    }


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }
