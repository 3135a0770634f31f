"""The text for a methods section: it says what a run did, and cites what it names."""

from typing import get_args

import numpy as np
import pytest
from scipy import sparse

from scrcl.cluster.names import IN_WORDS, Algorithm
from scrcl.cluster.table import ALGORITHMS
from scrcl.engine.load_config import load_config
from scrcl.engine.methods_text import methods_section
from scrcl.engine.open_run import open_run
from scrcl.engine.run import run_files
from tests.cells import FAST, make_cells


def texts_of(adata, folder, **settings):
    """The text and the papers of a run, and its report."""
    adata.write_h5ad(folder / "cells.h5ad")
    config = load_config(overrides={**FAST, "device": "cpu", **settings})
    run_files([folder / "cells.h5ad"], folder / "out", config)
    section = methods_section(open_run(folder / "out"))
    papers = [row[0] for row in section.table.rows]
    lines = open_run(folder / "out").methods_text.splitlines()
    assert lines == [section.text, "", "References", *papers]
    papers = " ".join(papers)
    return section.text, papers, (folder / "out/report.html").read_text()


def test_it_says_what_was_done_and_nothing_that_was_not(tmp_path):
    adata = make_cells()
    adata.X = sparse.csr_matrix(sparse.diags((np.arange(240) > 6).astype(np.float32)) @ adata.X)
    text, papers, page = texts_of(
        adata,
        tmp_path,
        n_clusters=4,
        features={"min_genes": 5, "n_top_genes": 50},
        cluster={"algorithm": "vote"},
    )
    assert "once more" not in text
    assert text.startswith("240 cells were analysed with scrcl ")
    assert "Without counts, or with fewer than 5 genes, 7 were left out." in text
    assert "Counts were scaled to 10,000 in each cell" in text
    assert "The 50 most variable genes were selected (as by seurat in scanpy)" in text
    assert "The 8 nearest neighbours of each cell were found (exact), and an embedding" in text
    assert "embedding was trained by scRCL (8 steps)." in text
    assert "4 clusters were found by the vote of scrcl" in text
    assert "(their number was given)" in text
    assert "Wilcoxon's rank sum test against all other cells; p values" in text
    for absent in ("UMAP", "Harmony", "Elteren", "Scrublet", "named", "None"):
        assert absent not in text + papers
    assert "arXiv:2512.10640" in papers
    assert "Satija" in papers
    assert "Traag" in papers
    assert "Text for a methods section" in page
    assert "240 cells were analysed with scrcl" in page


def test_it_says_which_clusters_were_clustered_once_more(tmp_path):
    text, _, _ = texts_of(
        make_cells(),
        tmp_path,
        n_clusters="auto",
        cluster={"algorithm": "vote", "divide_cells": 50},
    )
    assert (
        "Clusters of 50 voting cells and more were clustered once more, in components of their own cells."
        in text
    )


def test_it_says_how_batches_and_names_were_treated(tmp_path):
    adata = make_cells()
    adata.obs["donor"] = np.where(np.arange(240) % 2, "a", "b")  # donors that mix
    table = tmp_path / "table.csv"
    genes = [f"type {i % 4},gene{i}" for i in range(40)]
    table.write_text("\n".join(["cell_type,gene", *genes]))
    text, papers, page = texts_of(
        adata,
        tmp_path,
        n_clusters=4,
        batch_key="donor",
        umap={"cells": 1000},
        names={"table": str(table)},
    )
    assert "Components were not corrected for 2 batches (donor): " in text
    assert "Harmony" not in papers
    assert "of the same batch; batches were combined as by van Elteren" in text
    assert "UMAP was laid out on the same neighbours." in text
    assert "McInnes" in papers
    assert "Clusters were named by the marker genes of table.csv" in page


@pytest.mark.parametrize(("n_clusters", "was"), [(1, "1 domain was"), (3, "3 domains were")])
def test_a_tissue_has_domains(tmp_path, n_clusters, was):
    adata = make_cells(spatial=True)
    by_mixture = n_clusters > 1
    chosen = {"n_clusters": n_clusters, "cluster": {"algorithm": "mixture"}} if by_mixture else {}
    if n_clusters == 1:  # nothing varies from place to place
        adata.obsm["spatial"] = np.random.default_rng(0).permutation(adata.obsm["spatial"])
    text, _, _ = texts_of(adata, tmp_path, spatial=True, **chosen)
    assert f"{was} found in these averages by" in text
    assert ("fitted to them and to their own averages" in text) == by_mixture
    assert "nearest neighbours in the tissue" in text
    depth = np.median(adata.X.sum(axis=1).A1)  # that of a tissue
    assert f"Counts were scaled to {depth:,.0f} in each cell" in text
    assert "Each cell then took the label of most of its 12 nearest neighbours." in text


def test_each_clustering_algorithm_has_words():
    assert set(IN_WORDS) == set(ALGORITHMS) == set(get_args(Algorithm))
