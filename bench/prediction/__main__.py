"""Predictions for new cells from a finished run: agreement of `scrcl predict` with labels and with a run on all cells.

``python -m bench.prediction --data DIR``

A fifth of the cells of each set is held out. A run on the others (the atlas) predicts them; a run on all cells (joint)
clusters the same cells. Both get the number of classes, and nothing else of the labels. The peer is scikit-learn: PCA
of the atlas (2,000 genes by scanpy), and the clusters of the same atlas run transferred by 15 nearest neighbours. Then
the same without some genes of the new cells, with the atlas' own cells as new ones, and with one type (the largest
below a fifth of the cells) left out of the atlas. The area under the curve is that of low confidence as a mark of the
cells of that type.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS, labelled_files, read_counted
from bench._frame.page import table, write_results
from bench._frame.rows import RowLog

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

__all__ = ["main"]

HELD_OUT = 0.2
NOVEL_SHARE = 0.2
N_NEIGHBORS = 15


@dataclass(frozen=True)
class _Case:
    """One set with one seed; scores are adjusted Rand indices of the held-out cells unless described otherwise."""

    dataset: str
    seed: int
    n_cells: int
    n_new: int
    k: int
    predicted: float
    """Predicted clusters against labels"""
    joint: float
    """Clusters of the run on all cells against labels"""
    peer: float
    """Clusters of the atlas, transferred by neighbours in PCA, against labels"""
    predicted_joint: float
    peer_joint: float
    """Both against the clusters of the run on all cells"""
    without_20: float
    without_40: float
    """Predicted clusters with a share of all genes taken from the new cells, against labels"""
    same_cells: float
    """Share of the atlas' own cells that are predicted into their cluster"""
    same_cosine: float
    """Mean cosine of their E, predicted and in the atlas"""
    right_auc: float | None
    """Confidence: held-out cells whose label is that of most cells of their cluster, against the others"""
    novel: str
    n_novel: int
    novel_auc: float
    """Confidence: cells of a type that the atlas lacks, against the others"""
    novel_peer_auc: float
    """The same by the share of neighbours that agree"""
    novel_low: float
    known_low: float
    """Share of these cells, and of the others, of a confidence below 0.2"""


def _run_case(path: Path, seed: int, settings: list[str]) -> _Case:
    """Run everything on one file."""
    from sklearn.metrics import adjusted_rand_score as ari

    cells = read_counted(path)
    labels = cells.obs[LABELS].astype(str).to_numpy()
    k, rng = len(set(labels)), np.random.default_rng(seed)
    is_new = np.zeros(len(labels), dtype=bool)
    is_new[rng.choice(len(labels), round(HELD_OUT * len(labels)), replace=False)] = True
    atlas, new = cells[~is_new].copy(), cells[is_new].copy()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as name:
        folder = Path(name)
        joint = _clusters(_run(folder, "joint", cells, k, seed, settings), cells)[is_new]
        out = _run(folder, "atlas", atlas, k, seed, settings)
        found = _predict(folder, out, "new", new)
        same = _predict(folder, out, "same", atlas)
        of_atlas = _clusters(out, atlas)
        transferred, _ = _transfer(atlas, of_atlas, new, seed)
        true = labels[is_new]
        predicted = _names(found)
        without = [
            ari(true, _names(_predict(folder, out, f"without{share}", _thinned(new, share, seed))))
            for share in (0.2, 0.4)
        ]
        right = _majority(of_atlas, labels[~is_new], predicted) == true
        return _Case(
            dataset=path.stem,
            seed=seed,
            n_cells=len(labels),
            n_new=len(true),
            k=k,
            predicted=ari(true, predicted),
            joint=ari(true, joint),
            peer=ari(true, transferred),
            predicted_joint=ari(joint, predicted),
            peer_joint=ari(joint, transferred),
            without_20=without[0],
            without_40=without[1],
            same_cells=float(np.mean(_names(same) == of_atlas)),
            same_cosine=_cosine(same, out),
            right_auc=_auc(right, found.obs["scrcl_confidence"].to_numpy()),
            **_novel(folder, cells, is_new, k, seed, settings),
        )


def _cases_table(cases: list[_Case]) -> list[str]:
    """Return a table with a row for each set, then the mean over sets."""
    columns = {
        "predicted": "predicted", "joint": "joint run", "peer": "PCA + kNN",
        "predicted_joint": "predicted, joint", "peer_joint": "PCA + kNN, joint",
        "without_20": "without 20 % of genes", "without_40": "without 40 %",
        "same_cells": "own cells in their cluster", "same_cosine": "cosine of own E",
        "right_auc": "AUC right", "novel_auc": "AUC novel", "novel_peer_auc": "AUC novel, kNN",
        "novel_low": "novel below 0.2", "known_low": "others below 0.2",
    }  # fmt: skip
    lines = [
        [
            case.dataset,
            f"{case.n_new} of {case.n_cells}",
            case.k,
            case.novel,
            *(_text(getattr(case, name)) for name in columns),
        ]
        for case in cases
    ]
    means = [_text(_mean([getattr(case, name) for case in cases])) for name in columns]
    names = ["set", "new of cells", "K", "novel type", *columns.values()]
    return table(names, [*lines, ["**mean**", "", "", "", *means]])


def _novel(
    folder: Path, cells: AnnData, is_new: Any, k: int, seed: int, settings: list[str]
) -> dict[str, Any]:
    """Leave one type out of the atlas, and measure the confidence of its cells."""
    labels = cells.obs[LABELS].astype(str)
    counts = labels.value_counts()
    fair = counts[counts < NOVEL_SHARE * len(labels)]
    novel = str((fair if len(fair) else counts).index[0])
    is_novel = (labels == novel).to_numpy()
    atlas, new = cells[~is_new & ~is_novel].copy(), cells[is_new | is_novel].copy()
    out = _run(folder, "others", atlas, max(k - 1, 2), seed, settings)
    found = _predict(folder, out, "novel", new)
    confidence, is_novel = found.obs["scrcl_confidence"].to_numpy(), is_novel[is_new | is_novel]
    _, share = _transfer(atlas, _clusters(out, atlas), new, seed)
    return {
        "novel": novel,
        "n_novel": int(is_novel.sum()),
        "novel_auc": _auc(~is_novel, confidence),
        "novel_peer_auc": _auc(~is_novel, share),
        "novel_low": float(np.mean(confidence[is_novel] < 0.2)),
        "known_low": float(np.mean(confidence[~is_novel] < 0.2)),
    }


def _run(folder: Path, name: str, cells: AnnData, k: int, seed: int, settings: list[str]) -> Path:
    path, out = folder / f"{name}.h5ad", folder / name
    cells.write_h5ad(path)
    # Pictures would take most of the time, and do not matter here.
    config = runs.config_of(["report.umap_cells=0", *settings], n_clusters=k, seed=seed)
    runs.run(path, out, config)
    return out


def _predict(folder: Path, out: Path, name: str, cells: AnnData) -> AnnData:
    import scrcl

    path = folder / f"{name}.h5ad"
    cells.write_h5ad(path)
    return scrcl.predict(out, path)


def _clusters(out: Path, cells: AnnData) -> Any:
    return _names(runs.result(out)[cells.obs_names])


def _names(result: AnnData) -> Any:
    return result.obs["scrcl"].astype(str).to_numpy()


def _thinned(cells: AnnData, share: float, seed: int) -> AnnData:
    """Return the cells without a share of their genes; the order of the other genes changes."""
    rng = np.random.default_rng([seed, round(100 * share)])
    some = rng.permutation(cells.n_vars)[: round((1 - share) * cells.n_vars)]
    return cells[:, some].copy()


def _transfer(atlas: AnnData, clusters: Any, new: AnnData, seed: int) -> tuple[Any, Any]:
    """Return the cluster of each new cell by neighbours in PCA, and the share that agrees on it."""
    import scanpy as sc
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    logs = []
    for cells in (atlas.copy(), new.copy()):
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
        logs.append(cells)
    selected = np.ones(atlas.n_vars, dtype=bool)
    if atlas.n_vars > 2_000:
        sc.pp.highly_variable_genes(logs[0], n_top_genes=2_000)
        selected = logs[0].var["highly_variable"].to_numpy()
    x, y = (_dense(cells.X[:, selected]) for cells in logs)
    pca = PCA(min(50, min(x.shape) - 1), random_state=seed).fit(x)
    neighbours = KNeighborsClassifier(N_NEIGHBORS).fit(pca.transform(x), clusters)
    shares = neighbours.predict_proba(pca.transform(y))
    return neighbours.classes_[shares.argmax(axis=1)], shares.max(axis=1)


def _dense(x: Any) -> Any:
    return x.toarray() if hasattr(x, "toarray") else np.asarray(x)


def _majority(clusters: Any, labels: Any, predicted: Any) -> Any:
    """Return the label that most atlas cells of the predicted clusters have."""
    import pandas as pd

    of = pd.crosstab(clusters, labels).idxmax(axis=1)
    return of.reindex(predicted).to_numpy()


def _cosine(predicted: AnnData, out: Path) -> float:
    """Return the mean cosine of predicted rows of E with those of the atlas, half by half."""
    of_atlas, of_new = runs.result(out).obsm["X_scrcl"], predicted.obsm["X_scrcl"]
    # The halves of E have unit length, so a row with itself gives 2.
    return float(np.einsum("ij,ij->i", of_new, of_atlas).mean() / 2)


def _auc(positive: Any, values: Any) -> float | None:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, values)) if 0 < positive.mean() < 1 else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _write(args: argparse.Namespace, cases: list[_Case]) -> None:
    settings = f" but for {', '.join(args.set)}" if args.set else ""
    method = " ".join((__doc__ or "").partition("DIR``")[2].split())
    notes = [
        f"Seed {args.seed}, the default settings{settings}. {method}",
        "",
        (
            "Adjusted Rand indices of the held-out cells against labels; in the columns with joint, against "
            "the clusters of the run on all cells."
        ),
        "",
    ]
    body = [*notes, *_cases_table(cases)]
    write_results(args, "Predictions for new cells", body)


def main(arguments: list[str] | None = None) -> None:
    """Run all sets without coordinates, and write the table and its rows."""
    parser = parser_of("bench.prediction", __doc__)
    add_data(parser)
    add_settings(parser)
    parser.add_argument("--seed", type=int, default=0)
    args = parsed(parser, arguments)
    warnings.simplefilter("ignore")
    cases = []
    with RowLog(args.out) as log:
        for path in labelled_files(args.data, args.sets, spatial=False):
            cases.append(_run_case(path, args.seed, args.set))
            log.append({**stamp(), **asdict(cases[-1])})
            print(cases[-1], flush=True)
    _write(args, cases)
    print("\n".join(_cases_table(cases)))


if __name__ == "__main__":
    main()
