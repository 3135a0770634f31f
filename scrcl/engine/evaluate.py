"""Agreement of clusters with labels. No other code of the package reads labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from scrcl._crosstab import crosstab
from scrcl.engine.annotate import without_ours
from scrcl.engine.arguments import checked
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.later_columns import column_of_table, obs_of_run
from scrcl.engine.open_run import OpenRun, saved_config
from scrcl.engine.stages import STAGES
from scrcl.engine.stages.stats import StatsStage
from scrcl.errors import InputError, StoreError
from scrcl.graph.artifacts import NEIGHBOR_IDS
from scrcl.io.results import read_obs

if TYPE_CHECKING:
    from anndata import AnnData

    from scrcl.typing import IntArray

__all__ = ["Scores", "evaluate", "score"]

_FEW = 10
"""Up to this number of labels, each may belong to one cell."""


def score(clusters: Any, labels: Any) -> dict[str, Any]:
    """Agreement of a clustering with labels; cells without a label (or cluster) are left out.

    Parameters
    ----------
    clusters, labels
        Array-likes of length n_cells, of any values.

    Returns
    -------
    dict
        ``acc`` (clusters matched one to one with labels by the Hungarian method), ``nmi`` (arithmetic
        mean), ``ari``, ``macro_f1`` (mean F1 of the labels under the same matching; a label without
        a cluster counts 0), ``n_cells`` scored, ``n_clusters`` and ``n_labels``.

    Raises
    ------
    InputError
        One of them has not one value a cell, the lengths differ, or no cell has a label.

    References
    ----------
    Peng et al.: Refinement contrastive learning of cell-gene associations for unsupervised cell type identification;
    section "Evaluation Metrics" (ACC, NMI, ARI).
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    a, b = _column(clusters, "clusters"), _column(labels, "labels")
    if len(a) != len(b):
        message = (
            f"labels must be as many as clusters ({len(a)}); got {len(b)}. Give one for each cell."
        )
        raise InputError(message)
    known = (a.notna() & b.notna()).to_numpy()
    if not known.any():
        message = (
            "labels must be known for at least one cell; got none. Give labels of these cells."
        )
        raise InputError(message)
    found, true = pd.factorize(a[known])[0], pd.factorize(b[known])[0]
    table = crosstab(found, true)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {
        "acc": float(table[rows, columns].sum() / table.sum()),
        "nmi": float(normalized_mutual_info_score(true, found)),
        "ari": float(adjusted_rand_score(true, found)),
        "macro_f1": _macro_f1(table, rows, columns),
        "n_cells": int(table.sum()),
        "n_clusters": table.shape[0],
        "n_labels": table.shape[1],
    }


def _column(values: Any, name: str) -> pd.Series:
    """Return one value for each cell. Missing values of a list stay missing: NumPy would make them text."""
    if np.ndim(values) != 1:
        message = f"{name} must be one value a cell; got {np.ndim(values)} dimensions."
        raise InputError(message)
    if not isinstance(values, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray, np.ndarray)):
        values = list(values)
    return pd.Series(values).reset_index(drop=True)


@dataclass(frozen=True, repr=False)
class Scores:
    """Agreement of the clusters of a run with labels.

    Attributes
    ----------
    labels
        Column of obs, or folder of the other run.
    acc, nmi, ari, macro_f1
        See `score`.
    n_cells, n_clusters, n_labels
        Numbers of scored cells, their clusters and their labels.
    n_unlabelled
        Number of cells that have a cluster and no label, which are left out.
    coherence, label_coherence, coherence_by_chance, label_coherence_by_chance
        Spatial runs only: share of neighbours in the tissue with the same cluster or label, and the
        share expected by chance; None for other runs, and where stages were deleted.
    """

    labels: str
    acc: float
    nmi: float
    ari: float
    macro_f1: float
    n_cells: int
    n_clusters: int
    n_labels: int
    n_unlabelled: int
    coherence: float | None = None
    coherence_by_chance: float | None = None
    label_coherence: float | None = None
    label_coherence_by_chance: float | None = None

    def __repr__(self) -> str:
        known = {name: value for name, value in vars(self).items() if value is not None}
        shown = (f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v!r}" for k, v in known.items())
        return f"Scores({', '.join(shown)})"


@checked
def evaluate(
    out: str | Path,
    labels: str | Path,
    *,
    data: AnnData | None = None,
    table: str | Path | None = None,
) -> Scores:
    """Score the clusters of a finished run or prediction against labels, or against those of another run.

    Parameters
    ----------
    out
        Its output folder.
    labels
        Column of the input's obs; or the output folder of another run or prediction, whose clusters of the same cells,
        by name, are the labels. A column that has the name of a folder is the column.
    data
        An AnnData of the cells, whose columns of obs are as it has them now: labels may be made after the run.
    table
        A CSV file of which ``labels`` is a column. Its first column has the names of the cells. Cells that it lacks,
        and those with an empty field or NA, have no label.

    Raises
    ------
    StoreError
        ``out`` holds no finished run, or its neighbours are damaged.
    InputError
        obs or the table has no such column, almost every cell has a label of its own, or the runs share no cell; or the
        table names a cell twice, or one that the input lacks.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.evaluate("out/", "cell_type").ari  # doctest: +SKIP
    >>> scrcl.evaluate("out/", "other-out/").ari  # doctest: +SKIP
    >>> scrcl.evaluate("out/", "leiden", data=adata).ari  # doctest: +SKIP
    >>> scrcl.evaluate("out/", "cell_type", table="labels.csv").ari  # doctest: +SKIP
    """
    if data is not None and table is not None:
        message = f"table must not be given with data; got {table}. Leave out one of them."
        raise InputError(message)
    run = _open(Path(out))
    obs = obs_of_run(run, data)
    if table is not None:
        stats = run.folder.entry(StatsStage.name) or {}
        n_out = int(stats.get("n_cells", 0)) - int(stats.get("n_cells_retained", 0))
        column = column_of_table(Path(table), str(labels), obs.index, out=run.path, n_out=n_out)
        values = _of_types(column, str(labels))
    elif str(labels) not in obs and Path(labels).is_dir():
        values = _clusters_of(Path(labels), obs, run.path)
    else:
        values = _labels_of(obs, str(labels), "" if data is not None else _hint(run, labels))
    scores = score(obs["scrcl"], values) | _coherence(run, obs["scrcl"], values)
    return Scores(str(labels), **scores, n_unlabelled=int(values.isna().sum()))


def _hint(run: OpenRun, labels: str | Path) -> str:
    """Return where labels that obs lacks may be."""
    if Path(labels).is_file():
        return " Give a file by `table`, and the name of its column as the labels."
    # A run that was made in Python, of an AnnData whose columns may be newer than the run.
    is_of_object = not run.manifest.get("inputs")
    return " If it was made after the run, give the AnnData by `data`." if is_of_object else ""


def _open(out: Path) -> OpenRun:
    folder = RunFolder(out, read_manifest(out))
    return OpenRun(folder, STAGES, saved_config(folder))


def _clusters_of(other: Path, obs: pd.DataFrame, out: Path) -> pd.Series:
    """Return the clusters that another run has of the cells of ``obs``; missing where it lacks a cell."""
    there = read_obs(_open(other).result_path, whole=True)["scrcl"].astype(object)
    if not there.index.intersection(obs.index).size:
        message = (
            f"labels must be a run of the cells of {out}, which has {obs.index[0]} ...; "
            f"got {other}, which has {there.index[0]} ..., and no cell with the same name. Name another run."
        )
        raise InputError(message)
    return there.reindex(obs.index)


def _labels_of(obs: pd.DataFrame, key: str, hint: str) -> pd.Series:
    given = without_ours(obs, STAGES)
    if key not in obs:
        others = ", ".join(map(str, given.columns)) or "none"
        message = (
            f"labels must be a column of obs, or the folder of a run; got {key!r}. "
            f"There are: {others}.{hint}"
        )
        raise InputError(message)
    if key not in given:
        message = f"labels must not be the run's own; got {key!r}. Name a column of the input."
        raise InputError(message)
    return _of_types(obs[key], key)


def _of_types(labels: pd.Series, key: str) -> pd.Series:
    """Return labels, unless almost every cell has one of its own: numbers, or names of cells."""
    n_values, n_known = labels.nunique(), int(labels.notna().sum())
    if n_values > max(n_known / 2, _FEW):
        message = (
            f"labels must be shared by cells; got {key!r}, with {n_values:,} values for {n_known:,} cells. "
            "Name a column of types."
        )
        raise InputError(message)
    return labels


def _coherence(run: OpenRun, clusters: Any, labels: Any) -> dict[str, float | None]:
    """Return the coherence of clusters and labels in the tissue; empty without coordinates or stages."""
    from scrcl.graph.domains import coherence

    if not run.config.spatial or not run.has(NEIGHBOR_IDS):
        return {}
    ids = run.open(NEIGHBOR_IDS)
    if len(ids) != len(clusters):
        message = (
            f"{run.path} must have the neighbours of {len(clusters)} cells; got {len(ids)}. "
            "Run the command again."
        )
        raise StoreError(message)
    found: dict[str, float | None] = {}
    for name, values in (("coherence", clusters), ("label_coherence", labels)):
        of_values = coherence(pd.factorize(pd.Series(np.asarray(values)))[0], ids)
        share = None if np.isnan(of_values.share) else of_values.share
        found |= {name: share, f"{name}_by_chance": of_values.by_chance}
    return found


def _macro_f1(table: IntArray, rows: IntArray, columns: IntArray) -> float:
    f1 = np.zeros(table.shape[1])
    hits = table[rows, columns]
    f1[columns] = 2 * hits / (table.sum(axis=1)[rows] + table.sum(axis=0)[columns])
    return float(f1.mean())
