"""What a finished run says, as AnnData keys: one place for the names that users see.

========================================  =================================================
``obs["scrcl"]``                          cluster, categorical, largest cluster first
``obsm["X_scrcl"]``                       what was clustered: E (or Z), float32
``obsm["X_pca"]``                         principal component scores, float32
``obsp["scrcl_distances"]``               Euclidean distances of the k nearest neighbours
``obsp["scrcl_connectivities"]``          binary symmetric graph that the model learned from
``uns["scrcl"]``                          settings, versions, history; a ``neighbors_key`` for scanpy
========================================  =================================================

A spatial run whose labels were refined has ``obs["scrcl_unrefined"]`` too, the clusters before it. Of a spatial run
``scrcl_distances`` are those in the tissue; what ``graph.expression_neighbors`` adds is in ``scrcl_connectivities``.
A prediction has no ``obsp``; beside the others it has ``obs["scrcl_confidence"]``, ``obs["scrcl_margin"]``,
``obs["scrcl_familiarity"]`` (`scrcl.engine.predict.assign`) and ``uns["scrcl_colors"]``.
"""

from __future__ import annotations

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
    "UNREFINED",
    "Annotations",
    "collect",
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


@dataclass(frozen=True)
class Annotations:
    """The keys of a run for the cells that were kept (``kept``, a mask over all cells)."""

    kept: BoolArray
    clusters: pd.Categorical
    unrefined: pd.Categorical | None
    """The clusters before they were refined by the spots around; None where they were not."""
    obsm: dict[str, FloatArray]
    obsp: dict[str, Csr | da.Array]
    uns: dict[str, Any]


def collect(run: Run) -> Annotations:
    """Read the keys from the folders of the stages; large arrays and graphs stay on disk."""
    from scrcl.graph.csr import connectivities, distances_matrix
    from scrcl.io.results import pairs_in_blocks
    from scrcl.io.stats import MatrixStats

    graph = run.graph("graph")
    ids, distances = run.array("graph", "ids"), run.array("graph", "distances")
    return Annotations(
        kept=MatrixStats.load(run.stage("stats")).kept,
        clusters=_categorical(run.array("cluster", "labels")),
        unrefined=_categorical(run.array("cluster", "unrefined"))
        if run.config.refined_by
        else None,
        obsm={
            "X_scrcl": run.array("embed", run.config.cluster.on),
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


def write_into(adata: AnnData, result: AnnData, kept: BoolArray) -> None:
    """Copy the keys of ``result`` into ``adata``, whose rows ``kept`` it describes.

    Cells that are not kept (no counts, or filtered) get no cluster, NaN and no neighbours.
    """
    import pandas as pd

    at = np.flatnonzero(kept)
    if UNREFINED in adata.obs and UNREFINED not in result.obs:
        del adata.obs[UNREFINED]  # of an earlier run
    for key in [key for key in ("scrcl", UNREFINED) if key in result.obs]:
        codes = np.full(adata.n_obs, -1, dtype=np.int64)
        codes[at] = result.obs[key].cat.codes
        categories = result.obs[key].cat.categories
        adata.obs[key] = pd.Categorical.from_codes(codes.tolist(), categories=categories)
    for key in OBSM:
        whole = np.full((adata.n_obs, result.obsm[key].shape[1]), np.nan, dtype=np.float32)
        whole[at] = result.obsm[key]
        adata.obsm[key] = whole
    for key in CONFIDENCE.keys() & result.obs.keys():
        values = np.full(adata.n_obs, np.nan, dtype=np.float32)
        values[at] = result.obs[key]
        adata.obs[key] = values
    for key in result.obsp.keys() & set(OBSP):
        adata.obsp[key] = _spread(result.obsp[key], at, adata.n_obs)
    for key in result.uns.keys() & {"scrcl", COLOURS}:
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
        "graph_recall": graph["recall"],
        "device": train["device"],
        "history": {name: history[name].to_numpy() for name in history.columns},
    }


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }
