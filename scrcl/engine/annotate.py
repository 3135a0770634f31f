"""The keys of the stages as one AnnData: merged for the result, and copied into an AnnData of the user.

========================================  =================================================
``obs["scrcl"]``                          cluster, categorical, largest cluster first
``obs["scrcl_coarse"]``                   half as many clusters, which join those of ``scrcl``
``obs["scrcl_fine"]``                     twice as many clusters, which divide those of ``scrcl``
``obs["scrcl_confidence"]``               confidence, 0 to 1, float32 (`scrcl.cluster.confidence`)
``obs["scrcl_k8"]``, ...                  the same cells in 8 clusters, ..., for ``cluster.also``
``obs["scrcl_name"]``                     name of the cluster, from a table of markers or from the user
``obs["scrcl_unrefined"]``                clusters before smoothing, where domains of a tissue are smoothed
``obsm["X_scrcl"]``                       the space of the method that was clustered, float32
``obsm["X_umap"]``                        UMAP of the graph, float32
``obsm["X_tissue"]``                      averages over the tissue, in which domains are found, float32
``obsm["X_pca"]``                         principal component scores, float32
``obsp["scrcl_distances"]``               Euclidean distances of the k nearest neighbours
``obsp["scrcl_connectivities"]``          binary symmetric graph that the model learned from
``uns["scrcl"]``                          settings, versions, history; a ``neighbors_key`` for scanpy
``uns["scrcl"]["tree"]``                  merge trees, below
``uns["scrcl"]["clusters_by"]``           the algorithm that ``auto`` chose, and the agreement that decided
``uns["scrcl"]["notes"]``                 what the user should know
``uns["scrcl"]["markers"]``               marker genes of each cluster
``uns["rank_genes_groups"]``              the same for scanpy's plots and ``sc.get.rank_genes_groups_df``
``uns["scrcl"]["names"]``                 the two best names of each cluster, and their scores
``uns["paga"]``, ``uns["scrcl_sizes"]``   links of the clusters
``uns["dendrogram_scrcl"]``               their tree, for the order of scanpy's plots
``varm["PCs"]``, ``uns["pca"]``           loadings, 0 for genes that are not selected, and variances
``var``, ``uns["hvg"]``                   variable genes: columns and flavour as in scanpy
``uns["scrcl_colors"]``                   colours of the clusters
========================================  =================================================

Everything else is as in the input. What the input has under one of these keys gets the suffix ``_in_file``.

``tree`` holds ``clusters``, shape (n_clusters - 1, 4), and ``groups``, shape (n_micro - 1, 4), in the format of
`scipy.cluster.hierarchy`: a row for each merge, with the two that are joined, the height and the number of leaves.
Leaf i is cluster i, or micro-cluster i. ``cluster_sizes`` and ``group_sizes`` are their cells, and
``group_clusters`` is the cluster of each micro-cluster, whose own micro-clusters are joined first. Heights are costs
(`scrcl.cluster.agglomerate`): squared distances times a power of the number of cells. ``splits``, shape
(n_fine - 1, 4), is the tree of the fine clusters. In the place of heights it has the support of each split, -1 to 1
(`scrcl.cluster.merging`).

A prediction has no ``obsp`` and no markers. It also has ``obs["scrcl_margin"]`` and ``obs["scrcl_familiarity"]``
(`scrcl.cluster.assign`).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.stage import AnnDataKeys
from scrcl.errors import ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stage import Stage
    from scrcl.typing import BoolArray, Csr

__all__ = ["merged_keys", "without_ours", "write_into"]

_LOG = logging.getLogger(__name__)


def merged_keys(run: OpenRun, stages: Iterable[Stage[Any]]) -> AnnDataKeys:
    """Return the keys of all stages. Large arrays and graphs stay on disk."""
    obs: dict[str, Any] = {}
    obsm: dict[str, Any] = {}
    obsp: dict[str, Any] = {}
    var: dict[str, Any] = {}
    varm: dict[str, Any] = {}
    uns: dict[str, Any] = {}
    other_uns: dict[str, Any] = {}
    n_pairs = 0
    for stage in stages:
        try:
            keys = stage.keys(run)
        except ScrclError:
            raise
        except Exception as error:
            folder = run.folder.stage(stage.name)
            message = (
                f"{folder} must be whole; got {type(error).__name__}: {error}. "
                "Delete that folder and run the same command again."
            )
            raise StoreError(message) from error
        n_pairs += keys.n_pairs
        for merged, of_stage in (
            (obs, keys.obs), (obsm, keys.obsm), (obsp, keys.obsp), (var, keys.var), (uns, keys.uns),
            (other_uns, keys.uns_other), (varm, keys.varm),
        ):  # fmt: skip
            merged.update(of_stage)
    return AnnDataKeys(obs, obsm, obsp, var, uns, other_uns, n_pairs, varm)


def without_ours(obs: pd.DataFrame, stages: Iterable[Stage[Any]]) -> pd.DataFrame:
    """Return the table without the columns that an earlier run wrote."""
    ours = _owned_pattern(stages)
    return obs[[column for column in obs if not ours.fullmatch(str(column))]]


def write_into(
    adata: AnnData, result: AnnData, retained: BoolArray, stages: Sequence[Stage[Any]]
) -> None:
    """Copy the keys of ``result`` into ``adata``, of which it holds the rows ``retained``.

    Other cells (no counts, or filtered) get no cluster, NaN and no neighbours. Keys of an earlier run are removed
    first: mixed keys of two runs would look like one result.
    """
    import pandas as pd

    rows, ours = np.flatnonzero(retained), _owned_pattern(stages)
    _make_room(adata, result.uns["scrcl"], ours)
    for key in [column for column in result.obs if ours.fullmatch(str(column))]:
        column = result.obs[key]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes = np.full(adata.n_obs, -1, dtype=np.int64)
            codes[rows] = column.cat.codes
            adata.obs[key] = pd.Categorical.from_codes(
                codes.tolist(), categories=column.cat.categories
            )
        else:
            values = np.full(adata.n_obs, np.nan, dtype=np.float32)
            values[rows] = column
            adata.obs[key] = values
    ours_in = result.uns["scrcl"]
    for key in ours_in["obsm_keys"]:
        whole = np.full((adata.n_obs, result.obsm[key].shape[1]), np.nan, dtype=np.float32)
        whole[rows] = result.obsm[key]
        adata.obsm[key] = whole
    for key in [key for key in result.obsp if str(key).startswith("scrcl_")]:
        adata.obsp[key] = _spread(result.obsp[key], rows, adata.n_obs)
    for key in (*ours_in["uns_keys"], "scrcl"):
        adata.uns[key] = result.uns[key]
    for key in ours_in["varm_keys"]:
        adata.varm[key] = _by_gene(result.varm[key], result.var_names, adata.var_names)


def _by_gene(values: Any, genes: pd.Index, wanted: pd.Index) -> Any:
    """Return the rows of other genes, by name; 0 for those that the run left out, such as antibodies."""
    if genes.equals(wanted):
        return values
    at = genes.get_indexer(wanted)
    return np.where((at >= 0)[:, None], values[at], 0)


def _make_room(adata: AnnData, new: Mapping[str, Any], ours: re.Pattern[str]) -> None:
    """Remove the keys of an earlier run, and rename those of the user that the new one has too."""
    for column in [column for column in adata.obs if ours.fullmatch(str(column))]:
        del adata.obs[column]
    for key in [key for key in adata.obsp if str(key).startswith("scrcl_")]:
        del adata.obsp[key]
    for slot in ("obsm", "varm", "uns"):
        _keep_users(adata, slot, new[f"{slot}_keys"])
    for key in (*adata.uns.get("scrcl", {}).get("uns_keys", ()), "scrcl"):
        adata.uns.pop(key, None)


def _keep_users(adata: AnnData, slot: str, keys: Iterable[str]) -> None:
    """Give entries of a slot that the run has too another name, unless an earlier run wrote them."""
    from scrcl.io.slots import free_name

    earlier, entries = adata.uns.get("scrcl", {}).get(f"{slot}_keys", ()), getattr(adata, slot)
    for key in [key for key in keys if key in entries and key not in earlier]:
        if key.startswith("scrcl"):  # colours that scanpy chose for the clusters of an earlier run
            continue
        name = free_name(entries, key)
        entries[name] = entries[key]
        _LOG.warning("%s[%r] is kept as %r, as the run has its own", slot, key, name)


def _owned_pattern(stages: Iterable[Stage[Any]]) -> re.Pattern[str]:
    return re.compile("|".join(pattern for stage in stages for pattern in stage.owned_obs))


def _spread(matrix: Csr, rows: Any, n: int) -> Csr:
    """Place the rows and columns of ``matrix`` at ``rows`` of an ``n`` x ``n`` matrix."""
    from scipy.sparse import csr_matrix

    counts = np.zeros(n, dtype=np.int64)
    counts[rows] = np.diff(matrix.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_matrix((matrix.data, rows[matrix.indices], indptr), shape=(n, n))
