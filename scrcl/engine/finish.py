"""The last stage: markers, the result as AnnData, and the report."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._sizes import format_bytes
from scrcl.engine.annotate import collect, without_ours
from scrcl.engine.coherence import coherence_text
from scrcl.engine.device import versions
from scrcl.engine.disk import require_room
from scrcl.prep.stats import MatrixStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from scrcl.engine.annotate import Annotations
    from scrcl.engine.stage import Run
    from scrcl.report.page import Figure, StageUsage, Table
    from scrcl.typing import IntArray

__all__ = ["build_report", "stage_usages"]

_ENTRY_BYTES = 12
"""A value and its column, as anndata writes them in blocks."""

_JOINS = "How clusters join. The height is the square root of the cost of a merge."
_DEGREES = "Cells by number of neighbours. The last bar includes cells with more."

_HDF5_BYTES = 2_000_000
"""What many small elements take, and the report beside them."""


def build_report(run: Run, folder: Path) -> dict[str, Any]:
    """Write ``markers.csv`` (in the stage's folder), the result and ``report.html``."""
    from scrcl.prep.feature_store import FeatureStore
    from scrcl.report.markers import cluster_sums, rank_markers

    found = collect(run)
    labels = np.asarray(run.array("cluster", "labels"))
    store = FeatureStore.open(run.stage("features"))
    genes = run.matrix.var.index[run.array("features", "genes")]
    sums = cluster_sums(store, labels)
    markers = rank_markers(sums, genes, n_top=run.config.report.n_markers)
    markers.to_csv(folder / "markers.csv", index=False)
    clusters = _clusters(labels, markers, run.record("cluster"))
    result = _write_result(run, found, markers)
    _write_page(run, found, labels, clusters)
    return {
        "n_cells": len(labels),
        "files": [result, "report.html"],
        "result": result,
        "clusters": clusters,
    }


def _clusters(
    labels: IntArray, markers: pd.DataFrame, record: dict[str, Any]
) -> list[dict[str, Any]]:
    sizes = np.bincount(labels)
    by_cluster = markers.groupby("cluster")["gene"].agg(list)
    sure, entropy = record["confidence"], record.get("batches", {}).get("entropy")
    return [
        {
            "name": str(i),
            "n_cells": int(size),
            "share": float(size / len(labels)),
            "confidence": sure["median_by_cluster"][i],
            "n_unsure": sure["unsure_by_cluster"][i],
            **({} if entropy is None else {"batch_entropy": entropy[i]}),
            "markers": [str(gene) for gene in by_cluster[i]],
        }
        for i, size in enumerate(sizes)
    ]


def _write_result(run: Run, found: Annotations, markers: pd.DataFrame) -> str:
    from scrcl.io.results import write_result

    name = f"result.{run.config.format}"
    rows = np.flatnonzero(found.kept)
    obs = without_ours(run.matrix.obs).iloc[rows].copy()
    obs["scrcl"] = found.clusters
    for key, column in found.further.items():
        obs[key] = column
    obsm = dict(found.obsm)
    if "spatial" in run.matrix.obsm:
        obsm["spatial"] = np.asarray(run.matrix.obsm["spatial"])[rows]
    require_room(run.folder.path, _result_bytes(run, found), "the result")
    write_result(
        run.folder.path / name,
        fmt=run.config.format,
        obs=obs,
        var=_var(run),
        obsm=obsm,
        obsp=found.obsp,
        uns={"scrcl": {**found.uns, "markers": markers}},
        x=run.matrix.x(run.budget.block_rows)[rows] if run.config.keep_x else None,
    )
    return name


def _result_bytes(run: Run, found: Annotations) -> int:
    """Return the bytes of the large arrays: HDF5 cannot even close its file on a full disk."""
    entries: int = run.array("graph", "ids").size + len(run.graph("graph").indices)
    graphs = _ENTRY_BYTES * entries + 16 * run.matrix.n_obs
    x = _x_bytes(run) if run.config.keep_x else 0
    embeddings = sum(int(array.nbytes) for array in found.obsm.values())
    tables = (100 + 5 * len(found.further)) * run.matrix.n_obs + 100 * run.matrix.n_vars
    return embeddings + graphs + x + tables + _HDF5_BYTES


def _x_bytes(run: Run) -> int:
    return 8 * MatrixStats.load(run.stage("stats")).n_nonzero


def _var(run: Run) -> pd.DataFrame:
    """``var`` of the input with the statistics of the gene selection, named as scanpy names them."""
    import pandas as pd

    var = run.matrix.var.copy()
    table = pd.read_csv(run.stage("features") / "genes.csv")
    chosen = np.isin(np.arange(len(var)), run.array("features", "genes"))
    for column in table.columns:
        var[column] = table[column].to_numpy()
    var["highly_variable"] = chosen
    stats = MatrixStats.load(run.stage("stats"))
    var["n_cells_by_counts"], var["total_counts"] = stats.gene_cells, stats.gene_counts
    return var


def _write_page(
    run: Run, found: Annotations, labels: IntArray, clusters: list[dict[str, Any]]
) -> None:
    from scrcl.engine.report_clusters import batch_facts
    from scrcl.engine.report_graph import graph_facts
    from scrcl.report.figures import degree_bars, merge_lines, share_bars
    from scrcl.report.page import Figure, Page, Section, render_page

    config = run.config
    cells, pictures = _pictures(run, found, labels, [row["name"] for row in clusters])
    history = json.loads((run.stage("train") / "history.json").read_text(encoding="utf-8"))
    tree = run.array("cluster", "tree")  # smoothed labels may have fewer clusters than its leaves
    joins = merge_lines(tree, [str(i) for i in range(len(tree) + 1)]) if len(tree) else None
    confidence = share_bars(run.array("cluster", "confidence"), "confidence")
    degrees = degree_bars(run.array("graph", "degrees"))
    sections = [
        Section("Cells", figures=pictures, notes=_notes(run, len(labels), len(cells))),
        Section(
            "Clusters",
            table=_cluster_table(clusters),
            figures=[
                *([] if joins is None else [Figure(joins, _JOINS, "svg", wide=True)]),
                Figure(confidence, "Cells by confidence", "svg", wide=True),
            ],
        ),
        Section("Batches", batch_facts(run.record("cluster"))),
        Section(
            "Cell graph",
            graph_facts(run.record("graph"), config.graph),
            [Figure(degrees, _DEGREES, "svg", wide=True)],
        ),
        Section("Training", figures=_losses(history)),
    ]
    page = Page(
        title=f"scrcl: {run.matrix.label}",
        facts=_facts(run),
        sections=sections,
        stages=stage_usages(run.folder.manifest["stages"]),
        config=config.to_toml(),
        versions=versions(),
    )
    with atomic_path(run.folder.path / "report.html") as partial:
        partial.write_text(render_page(page), encoding="utf-8", errors="replace")


def stage_usages(records: Sequence[Mapping[str, Any]]) -> list[StageUsage]:
    """Return the rows of the report's table of stages, from the records in ``run.json``."""
    from scrcl.report.page import StageUsage

    names = [field.name for field in fields(StageUsage)]
    return [StageUsage(**{name: record[name] for name in names}) for record in records]


def _losses(history: Sequence[Mapping[str, float]]) -> list[Figure]:
    from scrcl.report.figures import loss_curves
    from scrcl.report.page import Figure

    return (
        [
            Figure(
                loss_curves(history), "Losses and gradient norm by training step", "svg", wide=True
            )
        ]
        if history
        else []
    )


def _pictures(
    run: Run, found: Annotations, labels: IntArray, names: list[str]
) -> tuple[IntArray, list[Figure]]:
    """Return the cells that are drawn and the scatter plots of them."""
    from scrcl.report.figures import scatter
    from scrcl.report.page import Figure
    from scrcl.report.umap import subset_of_cells, umap_layout

    config, pictures = run.config, []
    cells = subset_of_cells(len(labels), config.report.umap_cells, seed=config.seed)
    if len(cells) > 3:  # fewer cells have no neighbour graph to lay out
        points = np.asarray(found.obsm["X_scrcl"][cells])
        umap = scatter(umap_layout(points, seed=config.seed), labels[cells], names)
        pictures.append(Figure(umap, "UMAP of the embedding, coloured by cluster", "png"))
    if len(cells) and "spatial" in run.matrix.obsm:
        xy = np.asarray(run.matrix.obsm["spatial"])[np.flatnonzero(found.kept)[cells]]
        spatial = scatter(xy[:, :2], labels[cells], names, equal=True)
        pictures.append(Figure(spatial, "Cells in space, coloured by cluster", "png"))
    return cells, pictures


def _cluster_table(clusters: list[dict[str, Any]]) -> Table:
    from scrcl.report.colours import palette
    from scrcl.report.page import Column, Table

    columns = {
        "name": Column("cluster", "label"),
        "n_cells": Column("cells", "number"),
        "share": Column("share", "share"),
        "bar": Column("", "bar"),
        "confidence": Column("confidence (median)", "number"),
        "n_unsure": Column("low-confidence cells", "number"),
        "batch_entropy": Column("batch entropy", "number"),
        "markers": Column("markers", "markers"),
    }
    rows = [{**row, "bar": row["share"]} for row in clusters]
    keys = [key for key in columns if all(key in row for row in rows)]
    return Table(
        columns=[columns[key] for key in keys],
        rows=[[row[key] for key in keys] for row in rows],
        colours=palette(len(rows)),
    )


def _facts(run: Run) -> dict[str, str]:
    from scrcl.engine.report_clusters import cluster_facts
    from scrcl.engine.report_graph import recall_text

    read, stats, features = run.record("read"), run.record("stats"), run.record("features")
    graph, cluster, reduced = run.record("graph"), run.record("cluster"), run.record("reduce")
    return {
        "input": run.matrix.label,
        "cells": f"{stats['n_cells_kept']:,} of {read['n_cells']:,}",
        "genes": f"{features['n_genes']:,} variable of {read['n_genes']:,} ({_chosen_by(run)})",
        "values": _kind(stats),
        "genes in a cell (median)": f"{stats['median_genes_per_cell']:,.0f}",
        **_mitochondrial(stats),
        "variance in the components": f"{reduced['variance_explained']:.0%} in {reduced['n_comps']}",
        "training": _training(run.record("train")),
        **cluster_facts(cluster),
        **coherence_text(cluster),
        "cell graph": f"{graph['n_edges']:,} edges, recall {recall_text(graph)}" + _across(graph),
        "gene graph": _gene_graph(run.record("genes")),
        "memory given": format_bytes(run.config.memory),
        "peak memory before the report": format_bytes(
            max(record["peak_rss_bytes"] for record in run.folder.manifest["stages"])
        ),
        "device": run.record("train")["device"],
        "seed": str(run.config.seed),
    }


def _training(train: dict[str, Any]) -> str:
    if not train["stopped"]:
        return f"{train['n_steps']:,} steps"
    return f"{train['n_steps']:,} of at most {train['most_steps']:,} steps: by then cells kept their nearest cells"


def _across(graph: dict[str, Any]) -> str:
    batches, samples = graph.get("cross_batch_share"), graph.get("cross_sample_share")
    told = "" if batches is None else f", {batches:.1%} of them across batches"
    return told + ("" if samples is None else f", {samples:.1%} of them across samples")


def _gene_graph(genes: dict[str, Any]) -> str:
    told = f"{genes['n_edges']:,} edges, {genes['metric']} on the {genes['source']}"
    shared = genes["sketch_overlap"]
    if shared is None:
        return told
    return f"{told}; sketch and all cells agree on {shared:.0%} of the neighbours"


def _chosen_by(run: Run) -> str:
    key = run.config.batch_key
    return run.config.features.flavor + ("" if key is None else f", by {key}")


def _mitochondrial(stats: dict[str, Any]) -> dict[str, str]:
    if not stats["n_genes_mitochondrial"]:
        return {}
    share = f"{stats['median_mitochondrial_share']:.1%} in {stats['n_genes_mitochondrial']} genes"
    return {"mitochondrial share (median)": share}


def _kind(stats: dict[str, Any]) -> str:
    if stats["already_log"]:
        return "log values"
    return "counts" if stats["is_counts"] else "counts that are not whole numbers"


def _notes(run: Run, n_cells: int, n_shown: int) -> list[str]:
    from scrcl.engine.report_graph import graph_notes

    stats, notes = run.record("stats"), list(run.record("graph")["notes"])
    if stats["already_log"]:
        notes.append("The values are not counts: they were taken as log-normalised already.")
    if stats["n_cells"] > stats["n_cells_kept"]:
        notes.append(
            f"{stats['n_cells'] - stats['n_cells_kept']:,} cells were left out, "
            f"{stats['n_cells_empty']:,} of them without counts."
        )
    notes += run.record("cluster")["notes"]
    if 0 < n_shown < n_cells:
        notes.append(f"The pictures show {n_shown:,} of {n_cells:,} cells, drawn uniformly.")
    return notes + graph_notes(run.record("graph"), run.config.graph)
