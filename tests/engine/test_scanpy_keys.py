"""scanpy draws a result as it is."""

import matplotlib as mpl
import numpy as np
import pytest
import scanpy as sc

import scrcl
from scrcl.engine.run import run_files
from tests.cells import make_cells

WIDE = {"umap": {"cells": 200}, "graph": {"n_neighbors": 70}}
"""Neighbours of other clusters too: scanpy cannot draw a graph without any link."""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    from scrcl.engine.load_config import load_config
    from tests.cells import FAST

    folder = tmp_path_factory.mktemp("scanpy")
    make_cells(n_genes=150, spatial=True).write_h5ad(folder / "cells.h5ad")
    config = load_config(
        overrides={
            **FAST, "n_clusters": 4, "device": "cpu", "keep_x": True, "features": {"n_top_genes": 80},
            **WIDE,
        }
    )  # fmt: skip
    run_files([folder / "cells.h5ad"], folder / "out", config)
    return scrcl.open_run(folder / "out").to_anndata()


SCANPYS = {
    "obsm": ("X_umap", "X_pca"),
    "varm": ("PCs",),
    "uns": (
        "rank_genes_groups", "paga", "scrcl_sizes", "dendrogram_scrcl", "pca", "hvg", "scrcl_colors",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    from tests.cells import FAST

    adata = make_cells(n_genes=150, spatial=True)
    settings = {**FAST, "features": {"n_top_genes": 80}, **WIDE}
    return scrcl.fit(adata, n_clusters=4, device="cpu", **settings)


def test_fit_writes_the_same_keys(result, fitted):
    for slot, keys in SCANPYS.items():
        assert set(keys) <= set(getattr(result, slot))
        assert set(keys) <= set(getattr(fitted, slot))
    assert np.array_equal(fitted.obsm["X_umap"], result.obsm["X_umap"])
    same = fitted.uns["paga"]["connectivities"] != result.uns["paga"]["connectivities"]
    assert same.nnz == 0


PLOTS = {
    "umap": lambda a: sc.pl.umap(a, color=["scrcl", "gene0"], show=False),
    "rank_genes_groups": lambda a: sc.pl.rank_genes_groups(a, n_genes=5, show=False),
    "rank_genes_groups_dotplot": lambda a: sc.pl.rank_genes_groups_dotplot(
        a, n_genes=3, show=False
    ),
    "rank_genes_groups_heatmap": lambda a: sc.pl.rank_genes_groups_heatmap(
        a, n_genes=3, show=False
    ),
    "dotplot": lambda a: sc.pl.dotplot(
        a, a.var_names[:4], groupby="scrcl", dendrogram=True, show=False
    ),
    "paga": lambda a: sc.pl.paga(a, show=False),
    "pca_variance_ratio": lambda a: sc.pl.pca_variance_ratio(a, show=False),
    "highly_variable_genes": lambda a: sc.pl.highly_variable_genes(a, show=False),
    "spatial": lambda a: sc.pl.spatial(a, color="scrcl", spot_size=1, show=False),
}
OTHER_PLOTS = {
    "pca": lambda a: sc.pl.pca(a, color="scrcl", show=False),
    "pca_loadings": lambda a: sc.pl.pca_loadings(a, show=False),
    "matrixplot": lambda a: sc.pl.rank_genes_groups_matrixplot(a, n_genes=3, show=False),
    "tracksplot": lambda a: sc.pl.rank_genes_groups_tracksplot(a, n_genes=3, show=False),
    "violin": lambda a: sc.pl.rank_genes_groups_violin(
        a, groups=["0"], n_genes=3, strip=False, show=False
    ),
    "stacked_violin": lambda a: sc.pl.rank_genes_groups_stacked_violin(
        a, groups=["0"], n_genes=2, show=False
    ),
    "dotplot with a dendrogram": lambda a: sc.pl.rank_genes_groups_dotplot(
        a, n_genes=3, dendrogram=True, show=False
    ),
    "dendrogram": lambda a: sc.pl.dendrogram(a, "scrcl", show=False),
    "correlation_matrix": lambda a: sc.pl.correlation_matrix(a, "scrcl", show=False),
    "paga_compare": lambda a: sc.pl.paga_compare(a, basis="umap", show=False),
}


def assert_draws(plot, adata):
    """The plot has axes with something in them."""
    from matplotlib import pyplot as plt

    mpl.use("Agg")
    plt.close("all")
    plot(adata.copy())
    axes = [each for number in plt.get_fignums() for each in plt.figure(number).axes]
    plt.close("all")
    assert any(
        each.collections or each.lines or each.patches or each.images or each.texts for each in axes
    )


@pytest.mark.parametrize("name", [*PLOTS, *OTHER_PLOTS])
@pytest.mark.filterwarnings("ignore")  # scanpy's own, of pandas and matplotlib
def test_a_plot_is_drawn(result, name):
    assert_draws((PLOTS | OTHER_PLOTS)[name], result)


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.filterwarnings("ignore")
def test_a_plot_of_what_fit_returns_is_drawn(fitted, name):
    assert_draws(PLOTS[name], fitted)


def test_markers_are_scanpys_of_the_same_clusters(result):
    """With the same filter: genes of scanpy's list that mark a cluster, in its order."""
    logs = result.copy()
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    sc.tl.rank_genes_groups(logs, "scrcl", method="wilcoxon", key_added="theirs", pts=True)
    for cluster in logs.obs["scrcl"].cat.categories:
        mine = sc.get.rank_genes_groups_df(logs, cluster)
        theirs = sc.get.rank_genes_groups_df(logs, cluster, key="theirs")
        least = np.where(theirs["pct_nz_reference"] <= 0.9, 1, 2)
        marks = theirs[theirs["logfoldchanges"] >= least]
        n = min(10, len(marks))
        assert n > 3
        assert set(mine["names"][:n]) <= set(marks["names"])
        # Genes whose scores differ by less than ties within a bin may change places.
        assert mine["scores"][:n].to_numpy() == pytest.approx(marks["scores"][:n], abs=0.05)


def test_loadings_have_a_row_for_each_gene_and_colours_one_for_each_cluster(result):
    assert result.varm["PCs"].shape == (150, 12)
    selected = result.var["highly_variable"].to_numpy()
    assert selected.sum() == 80
    assert not result.varm["PCs"][~selected].any()
    assert result.varm["PCs"][selected].any(axis=1).all()
    assert len(result.uns["scrcl_colors"]) == result.obs["scrcl"].nunique()
