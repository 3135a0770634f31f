"""The keys of the stages as one AnnData: merged for the result, and copied into an AnnData of the user.

========================================  =================================================
``obs["scrcl"]``                          cluster, categorical, largest cluster first
``obs["scrcl_coarse"]``                   half as many clusters, which join those of ``scrcl``
``obs["scrcl_fine"]``                     twice as many clusters, which divide those of ``scrcl``
``obs["scrcl_confidence"]``               confidence, 0 to 1, float32 (`scrcl.cluster.confidence`)
``obs["scrcl_doublet_score"]``            score of scrublet, if asked for; NaN for cells that were not scored
``obs["scrcl_k8"]``, ...                  the same cells in 8 clusters, ..., for ``cluster.also``
``obs["scrcl_name"]``                     name of the cluster, from a table of markers or from the user
``obs["scrcl_pseudotime"]``               diffusion pseudotime from a root, 0 to 1; NaN where no path leads
``obs["scrcl_sub"]``                      subclusters of the clusters that were looked into, and other clusters
``obs["scrcl_sub_name"]``                 their names, if subclusters were named
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
``uns["scrcl"]["associations"]``          genes of each cluster by the trained model, if the method has them
``var["scrcl_module"]``                   module of the gene in the gene graph, -1: none
``uns["rank_genes_groups"]``              the same for scanpy's plots and ``sc.get.rank_genes_groups_df``
``uns["scrcl"]["names"]``                 the two best names of each cluster, and their scores
``uns["paga"]``, ``uns["scrcl_sizes"]``   links of the clusters
``uns["dendrogram_scrcl"]``               their tree, for the order of scanpy's plots
``varm["PCs"]``, ``uns["pca"]``           loadings, 0 for genes that are not selected, and variances
``var``, ``uns["hvg"]``                   variable genes: columns and flavour as in scanpy
``uns["scrcl_colors"]``                   colours of the clusters; ``uns["scrcl_name_colors"]`` those of the names
========================================  =================================================

Everything else is as in the input. Where the input has a key of its own that a stage writes, such as ``X_umap``, that
of the input stays, and those of the stage get the suffix ``_scrcl``: all of them, as loadings and variances of two
analyses are no pair. ``uns["scrcl"]`` lists the run's keys of each slot (``obsm_keys`` and so on).

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

import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._warnings import logger_of
from scrcl.engine.outputs import naming_damage
from scrcl.engine.stage import AnnDataKeys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stage import Stage
    from scrcl.typing import BoolArray, Csr, IntArray

__all__ = [
    "by_gene",
    "merged_keys",
    "named_categories",
    "renamed_if_taken",
    "spread",
    "spread_pairs",
    "without_ours",
    "write_into",
]

_LOG = logger_of(__name__)

_SUFFIX = "_scrcl"


def merged_keys(
    run: OpenRun, stages: Iterable[Stage[Any]], of_input: Mapping[str, Collection[str]]
) -> AnnDataKeys:
    """Return the keys of all stages, under names that the input does not have. Large arrays and graphs stay on disk.

    Parameters
    ----------
    of_input
        Keys that the result keeps of the input, by slot (`scrcl.engine.results.keys_of_input`).
    """
    slots = [each.name for each in fields(AnnDataKeys) if each.name != "n_pairs"]
    merged: dict[str, dict[str, Any]] = {slot: {} for slot in slots}
    n_pairs = 0
    for stage in stages:
        if run.is_left_as_is(stage):
            continue
        with naming_damage(run.folder.stage(stage.name), "be whole"):
            keys = renamed_if_taken(stage.keys(run), of_input)
        n_pairs += keys.n_pairs
        for slot in merged:
            merged[slot] |= getattr(keys, slot)
    return AnnDataKeys(**merged, n_pairs=n_pairs)


_SHARED = {"var": "var", "obsm": "obsm", "varm": "varm", "uns": "uns_other"}
"""Slots whose keys are scanpy's, so that an input can have them too; and the fields that hold them."""

_PLOTS = {
    "X_umap": f'sc.pl.embedding(adata, basis="X_umap{_SUFFIX}") draws it, sc.pl.umap that of the input.',
    "rank_genes_groups": f'Give key="rank_genes_groups{_SUFFIX}" to the plots of scanpy.',
}
"""How to draw keys of a run that scanpy does not look for under their new name."""


def renamed_if_taken(keys: AnnDataKeys, of_input: Mapping[str, Collection[str]]) -> AnnDataKeys:
    """Return the keys of a stage, all renamed if the input has one of them. Those with our name are ours."""
    ours = {
        slot: [key for key in getattr(keys, field) if "scrcl" not in key]
        for slot, field in _SHARED.items()
    }
    both = [
        f"{slot}[{key!r}]"
        for slot, names in ours.items()
        for key in names
        if key in of_input.get(slot, ())
    ]
    if not both:
        return keys
    new = [f"{slot}[{key + _SUFFIX!r}]" for slot, names in ours.items() for key in names]
    plots = [
        f" {how}" for key, how in _PLOTS.items() if any(key in names for names in ours.values())
    ]
    _LOG.warning(
        "%s of the input: kept. Those of the run are %s.%s",
        ", ".join(both),
        ", ".join(new),
        "".join(plots),
    )
    renamed: dict[str, Any] = {
        field: {
            key + _SUFFIX if key in ours[slot] else key: value
            for key, value in getattr(keys, field).items()
        }
        for slot, field in _SHARED.items()
    }
    return replace(keys, **renamed)


def without_ours(obs: pd.DataFrame, stages: Iterable[Stage[Any]]) -> pd.DataFrame:
    """Return the table without the columns that an earlier run wrote."""
    ours = _owned_pattern(stages)
    return obs[[column for column in obs if not ours.fullmatch(str(column))]]


def warn_of_replaced(
    sources: Iterable[Any], obs: pd.DataFrame, stages: Iterable[Stage[Any]]
) -> None:
    """Warn of columns that have the names of a run's, where no earlier run wrote them.

    Parameters
    ----------
    sources
        What the input was read from; see `scrcl.io.slots`. A run leaves ``uns["scrcl"]``.
    """
    from scrcl.io.slots import has_run

    ours = _owned_pattern(stages)
    named = [f"obs[{column!r}]" for column in map(str, obs) if ours.fullmatch(column)]
    if named and not any(map(has_run, sources)):
        _LOG.warning(
            "%s of the input: not kept, because results of scrcl have such names. Rename what you want to keep.",
            ", ".join(named),
        )


def write_into(
    adata: AnnData, result: AnnData, retained: BoolArray, stages: Sequence[Stage[Any]]
) -> None:
    """Copy the keys of ``result`` into ``adata``, of which it holds the rows ``retained``.

    Other cells (no counts, or filtered) get no cluster, NaN and no neighbours. Keys of an earlier run are removed
    first: mixed keys of two runs would look like one result. A view becomes an AnnData of its own, as in scanpy.
    """
    if adata.is_view:
        adata.uns = (
            adata.uns.copy()
        )  # a whole slot makes it an object of its own, without the warning of a single key
    rows, ours = np.flatnonzero(retained), _owned_pattern(stages)
    _remove_earlier(adata, ours)
    for key in [column for column in result.obs if ours.fullmatch(str(column))]:
        adata.obs[key] = spread(result.obs[key].array, rows, adata.n_obs)
    ours_in = result.uns["scrcl"]
    for key in ours_in["obsm_keys"]:
        whole = np.full((adata.n_obs, result.obsm[key].shape[1]), np.nan, dtype=np.float32)
        whole[rows] = result.obsm[key]
        adata.obsm[key] = whole
    for key in [key for key in result.obsp if str(key).startswith("scrcl_")]:
        adata.obsp[key] = spread_pairs(result.obsp[key], retained, rows, adata.n_obs)
    for key in (*ours_in["uns_keys"], "scrcl"):
        adata.uns[key] = result.uns[key]
    for key in ours_in["varm_keys"]:
        adata.varm[key] = by_gene(result.varm[key], result.var_names, adata.var_names)
    for key in ours_in["var_keys"]:
        column = result.var[key].to_numpy()
        adata.var[key] = by_gene(column, result.var_names, adata.var_names)


def spread(column: Any, rows: IntArray, n: int) -> Any:
    """Return a column for ``n`` cells that has its values at ``rows``, and is missing elsewhere."""
    import pandas as pd

    if isinstance(column, pd.Categorical):
        codes = np.full(n, -1, dtype=np.int64)
        codes[rows] = column.codes
        return pd.Categorical.from_codes(codes.tolist(), categories=column.categories)
    values = np.full(n, np.nan, dtype=np.float32)
    values[rows] = column
    return values


def named_categories(names: Sequence[str], labels: IntArray) -> pd.Categorical:
    """Return the name of the label of each cell. Labels with one name are one category."""
    import pandas as pd

    categories = pd.Index(dict.fromkeys(names))
    codes = categories.get_indexer(pd.Index(names))[labels]
    return pd.Categorical.from_codes(codes.tolist(), categories=categories)


def by_gene(values: Any, genes: pd.Index, wanted: pd.Index) -> Any:
    """Return the rows of other genes, by name.

    Genes that the run left out, such as antibodies, have loadings of 0, no flag (False), and NaN in other columns.
    """
    if genes.equals(wanted):
        return values
    at = genes.get_indexer(wanted)
    found = at >= 0
    other: float = 0 if values.ndim > 1 else False if values.dtype == bool else np.nan
    return np.where(found.reshape(-1, *[1] * (values.ndim - 1)), values[at], other)


def _remove_earlier(adata: AnnData, ours: re.Pattern[str]) -> None:
    """Remove what an earlier run wrote."""
    from scrcl.io.slots import earlier_keys

    for column in [column for column in adata.obs if ours.fullmatch(str(column))]:
        del adata.obs[column]
    for key in [key for key in adata.obsp if str(key).startswith("scrcl_")]:
        del adata.obsp[key]
    earlier = {slot: earlier_keys(adata, slot) for slot in _SHARED}
    for slot, keys in earlier.items():
        entries = getattr(adata, slot)
        for key in [key for key in keys if key in entries]:
            del entries[key]


def _owned_pattern(stages: Iterable[Stage[Any]]) -> re.Pattern[str]:
    return re.compile("|".join(pattern for stage in stages for pattern in stage.owned_obs))


def spread_pairs(pairs: Csr, retained: BoolArray, places: IntArray, n: int) -> Csr:
    """Return rows for some of ``n`` cells: those of ``pairs`` for the retained ones, and empty ones for the others.

    Parameters
    ----------
    places
        ndarray of int: where the retained ones are among all ``n``.
    """
    from scipy.sparse import csr_matrix

    counts = np.zeros(len(retained), np.int64)
    counts[retained] = np.diff(pairs.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_matrix((pairs.data, places[pairs.indices], indptr), shape=(len(retained), n))
