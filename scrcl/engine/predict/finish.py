"""The last stage of a prediction: the result as AnnData, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._sizes import format_bytes
from scrcl.engine.annotate import COLOURS, CONFIDENCE, without_ours
from scrcl.engine.device import versions
from scrcl.engine.disk import require_room
from scrcl.engine.finish import stage_usages

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl.engine.predict.atlas import Atlas
    from scrcl.engine.stage import Run
    from scrcl.report.page import Table

__all__ = ["UNSURE", "build_report"]

UNSURE = 0.2
"""Cells of less confidence are counted apart: of cells of a type held out, most had less."""

_CONFIDENCE = (
    "Cells by confidence. It is the geometric mean of two numbers: how much nearer a cell is to its "
    "cluster than to the next, and how similar it is to its nearest cells of the run, as a share of "
    "the run's own cells."
)


def build_report(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Write the result and ``report.html``; leaves ``clusters.csv`` in the stage's folder."""
    import pandas as pd

    clusters = _clusters(atlas, run)
    pd.DataFrame(clusters).to_csv(folder / "clusters.csv", index=False)
    result = _write_result(atlas, run)
    _write_page(atlas, run, clusters)
    unsure = int(np.count_nonzero(run.array("cluster", "confidence") < UNSURE))
    return {
        "n_cells": len(run.array("cluster", "labels")),
        "files": [result, "report.html"],
        "result": result,
        "clusters": clusters,
        "n_cells_unsure": unsure,
    }


def _clusters(atlas: Atlas, run: Run) -> list[dict[str, Any]]:
    labels = np.asarray(run.array("cluster", "labels"))
    sizes = np.bincount(labels, minlength=atlas.n_clusters)
    sums = np.bincount(labels, run.array("cluster", "confidence"), minlength=atlas.n_clusters)
    there = {row["name"]: row for row in atlas.record("report")["clusters"]}
    return [
        {
            "name": str(i),
            "n_cells": int(size),
            "share": float(size / len(labels)),
            "share_atlas": there[str(i)]["share"],
            "confidence": float(sums[i] / size) if size else None,
            "markers": there[str(i)]["markers"],
        }
        for i, size in enumerate(sizes)
    ]


def _write_result(atlas: Atlas, run: Run) -> str:
    from scrcl.io.results import write_result
    from scrcl.prep.stats import MatrixStats

    name = f"result.{run.config.format}"
    stats = MatrixStats.load(run.stage("stats"))
    rows = np.flatnonzero(stats.kept)
    obs = without_ours(run.matrix.obs).iloc[rows].copy()
    obs["scrcl"] = _categorical(atlas, run)
    for key, array in CONFIDENCE.items():
        obs[key] = np.asarray(run.array("cluster", array))
    obsm = {
        "X_scrcl": run.array("embed", run.config.clustered_on),
        "X_pca": run.array("reduce", "scores"),
    }
    x_bytes = 8 * stats.n_nonzero if run.config.keep_x else 0
    n_bytes = sum(array.nbytes for array in obsm.values()) + 120 * len(obs) + x_bytes
    require_room(run.folder.path, n_bytes + 2_000_000, "the result")
    write_result(
        run.folder.path / name,
        fmt=run.config.format,
        obs=obs,
        var=_var(atlas, run),
        obsm=obsm,
        obsp={},
        uns={"scrcl": _uns(atlas, run), COLOURS: _colours(atlas)},
        x=run.matrix.x(run.budget.block_rows)[rows] if run.config.keep_x else None,
    )
    return name


def _categorical(atlas: Atlas, run: Run) -> pd.Categorical:
    """Return the clusters with the names of the run: also those that no new cell fell into."""
    import pandas as pd

    names = pd.Index([str(i) for i in range(atlas.n_clusters)])
    return pd.Categorical.from_codes(run.array("cluster", "labels").tolist(), categories=names)


def _colours(atlas: Atlas) -> np.ndarray:
    from scrcl.report.colours import palette

    return np.array(palette(atlas.n_clusters))


def _var(atlas: Atlas, run: Run) -> pd.DataFrame:
    var = run.matrix.var.copy()
    var["highly_variable"] = var.index.isin(atlas.genes[atlas.selected])
    return var


def _uns(atlas: Atlas, run: Run) -> dict[str, Any]:
    stats = run.record("stats")
    return {
        "predicted_from": str(atlas.folder.path.resolve()),
        "run_fingerprint": atlas.folder.manifest["fingerprint"],
        "versions": versions(),
        "n_clusters": atlas.n_clusters,
        "graph_recall": run.record("graph")["recall"],
        "n_genes_selected": stats["n_genes_selected"],
        "n_genes_missing": stats["n_genes_missing"],
    }


def _write_page(atlas: Atlas, run: Run, clusters: list[dict[str, Any]]) -> None:
    from scrcl.report.figures import share_bars
    from scrcl.report.page import Figure, Page, Section, render_page

    confidence = share_bars(np.asarray(run.array("cluster", "confidence")), "confidence")
    page = Page(
        title=f"scrcl: {run.matrix.label} predicted from {atlas.folder.path.name}",
        facts=_facts(atlas, run),
        sections=[
            Section("Clusters", table=_cluster_table(clusters), notes=_notes(atlas, run)),
            Section("Confidence", figures=[Figure(confidence, _CONFIDENCE, "svg", wide=True)]),
        ],
        stages=stage_usages(run.folder.manifest["stages"]),
        config=run.config.to_toml(),
        versions=versions(),
    )
    with atomic_path(run.folder.path / "report.html") as partial:
        partial.write_text(render_page(page), encoding="utf-8", errors="replace")


def _cluster_table(clusters: list[dict[str, Any]]) -> Table:
    from scrcl.report.colours import palette
    from scrcl.report.page import Column, Table

    columns = {
        "name": Column("cluster", "label"),
        "n_cells": Column("cells", "number"),
        "share": Column("share", "share"),
        "bar": Column("", "bar"),
        "share_atlas": Column("share in the run", "share"),
        "confidence": Column("confidence (mean)", "number"),
        "markers": Column("markers", "markers"),
    }
    return Table(
        columns=list(columns.values()),
        rows=[[{**row, "bar": row["share"]}[key] for key in columns] for row in clusters],
        colours=palette(len(clusters)),
    )


def _facts(atlas: Atlas, run: Run) -> dict[str, str]:
    from scrcl.engine.report_graph import recall_text

    stats, graph = run.record("stats"), run.record("graph")
    confidence = run.array("cluster", "confidence")
    return {
        "input": run.matrix.label,
        "run": str(atlas.folder.path),
        "cells": f"{stats['n_cells_kept']:,} of {stats['n_cells']:,}",
        "cells of the run": f"{atlas.n_cells:,}",
        "selected genes that are missing": (
            f"{stats['n_genes_missing']:,} of {stats['n_genes_selected']:,} "
            f"({stats['share_missing']:.1%})"
        ),
        "neighbours in the run": (
            f"{run.record('embed')['mean_neighbors']:.1f} a cell, {graph['backend']}, "
            f"recall {recall_text(graph)}"
        ),
        "confidence (median)": f"{np.median(confidence):.2f}",
        f"cells of a confidence below {UNSURE}": f"{np.mean(confidence < UNSURE):.1%}",
        "memory given": format_bytes(run.config.memory),
    }


def _notes(atlas: Atlas, run: Run) -> list[str]:
    from scrcl.engine.predict.prepare import match, missing_note

    stats, notes = run.record("stats"), []
    if stats["n_genes_missing"]:
        notes.append(missing_note(match(atlas, run)))
    left_out = stats["n_cells"] - stats["n_cells_kept"]
    if left_out:
        notes.append(f"{left_out:,} cells without counts in the run's genes were left out.")
    return notes
