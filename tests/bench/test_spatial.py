"""The benchmark of spatial domains at toy size, and its simulated tissues."""

import anndata
import numpy as np
import pytest

from bench._frame.stage_times import run_timed
from bench.spatial import __main__ as spatial
from bench.spatial import bins, cortex, drawn, layers, new_slices, patients, sections, visium
from scrcl.cluster import count_domains
from scrcl.graph.domains import coherence
from scrcl.graph.spatial import spatial_knn
from tests.cells import FAST_SETTINGS


@pytest.mark.slow
@pytest.mark.xdist_group("umap")  # what it compiles takes longest: one worker for all of it
def test_the_spatial_table_has_a_row_for_each_method_and_smoothing(
    tmp_path, data, quick, read, monkeypatch
):
    monkeypatch.setattr(layers, "N_ACROSS", 6)
    monkeypatch.setattr(spatial, "RESTARTS", 2)
    page = tmp_path / "table.md"
    arguments = ["--data", str(data), "--out", str(page), "--seeds", "0", *quick]
    spatial.main([*arguments, "--graphs", "6,15", "--layers", "layers_thin"])
    text, rows = read(page)
    assert "### tissue: 240 cells, 4 classes" in text
    assert "### layers_thin: 246 cells, 6 classes" in text
    assert "plain" not in text
    cases = [row for row in rows if "method" in row]
    methods = {"scrcl 6", "scrcl 15", "pca_kmeans", "pca_leiden"}
    assert {row["method"] for row in cases} == methods
    assert {row["smoothed_by"] for row in cases} == set(spatial.SMOOTHED_BY)
    assert len(cases) == 2 * len(methods) * len(spatial.SMOOTHED_BY)
    assert all(0 <= row["coherence"] <= 1 and row["smallest_f1"] <= 1 for row in cases)
    again = [row for row in rows if "view" in row]
    assert {(row["set"], row["view"]) for row in again} == {
        (name, view) for name in ("tissue", "layers_thin") for view in ("E", "E^m", "E^g")
    }
    assert all(row["least_ari"] <= row["ari"] <= row["most_ari"] for row in again)


def test_simulated_layers_have_the_widths_that_they_are_listed_with():
    for name, tissue in layers.LAYERED.items():
        cells = layers.layered(name)
        sizes = cells.obs["cell_type"].value_counts(sort=False)
        assert (sizes // layers.N_ACROSS).tolist() == list(tissue.widths)
        near = spatial_knn(cells.obsm["spatial"], 6).ids
        assert coherence(cells.obs["cell_type"].cat.codes.to_numpy(), near).share > 0.8


def test_the_table_of_sections_has_the_default_and_slices_as_they_are(
    tmp_path, quick, read, monkeypatch
):
    monkeypatch.setattr(patients, "_SIDES", (8, 10))
    monkeypatch.setattr(count_domains, "_MOST_DOMAINS", 3)
    page = tmp_path / "sections.md"
    sections.main(
        [
            "--out",
            str(page),
            "--seeds",
            "0",
            "--effects",
            "100",
            "--sections",
            "2",
            "--genes",
            "100",
            *quick,
        ]
    )
    text, rows = read(page)
    assert [row["way"] for row in rows] == ["default", "slices as they are"]
    assert "2 sections." in text
    assert all(row["of_one_at_k"] <= row["k_at_k"] for row in rows)


def test_each_slice_is_left_out_and_predicted(tmp_path, quick, read, monkeypatch):
    monkeypatch.setattr(patients, "_SIDES", (8, 10))
    monkeypatch.setattr(count_domains, "_MOST_DOMAINS", 3)
    page = tmp_path / "slices.md"
    arguments = "--seeds 0 --effects 0 --sections 3 --genes 100"
    new_slices.main(["--data", str(tmp_path), "--out", str(page), *arguments.split(), *quick])
    _, rows = read(page)
    assert [row["slice"] for row in rows] == ["section 0", "section 1", "section 2"]
    assert all(row["k_new"] <= row["k"] for row in rows)


def test_one_section_may_have_a_domain_of_its_own(tmp_path, quick, read, monkeypatch):
    monkeypatch.setattr(patients, "_SIDES", (8, 10))
    monkeypatch.setattr(count_domains, "_MOST_DOMAINS", 3)
    cells = patients.patients(3, n_genes=50, alone=2)
    last = cells.obs["cell_type"] == f"domain {patients.N_DOMAINS - 1}"
    assert set(cells.obs[patients.PATIENT][last]) == {"section 2"}
    page = tmp_path / "alone.md"
    few = ["--seeds", "0", "--effects", "50", "--sections", "3", "--genes", "100"]
    sections.main(["--out", str(page), "--alone", *few, *quick])
    text, rows = read(page)
    assert "F1 of the domain of one section" in text
    assert all(0 < row["f1_last_at_k"] <= 1 for row in rows)


@pytest.mark.parametrize("spots", [False, True])
def test_tissues_of_drawn_cells_have_a_column_for_each_scaling_of_genes(
    tmp_path, data, quick, read, monkeypatch, spots
):
    monkeypatch.setattr(drawn, "ACROSS", 20)
    monkeypatch.setattr(drawn, "DOWN", 12)
    monkeypatch.setattr(drawn, "LEAST_CELLS", 100)
    page = tmp_path / "drawn.md"
    kind = ["--spots"] if spots else []
    drawn.main(["--data", str(data), "--out", str(page), "--seeds", "0", *kind, *quick])
    text, rows = read(page)
    assert ("spots of eight cells" if spots else "cells anywhere") in text
    assert {row["set"] for row in rows} == {"plain"}
    assert [row["method"] for row in rows] == list(drawn.CHANGED)
    assert {row["n_labels"] for row in rows} == {6}


def test_a_drawn_spot_has_the_counts_of_eight_cells_and_near_spots_are_of_one_layer(data):
    cells = anndata.read_h5ad(data / "plain.h5ad")
    single, spots = (drawn.drawn(cells, 0, spots=spots) for spots in (False, True))
    for tissue, n in ((single, 1), (spots, 8)):
        assert tissue.shape == (drawn.ACROSS * drawn.DOWN, cells.n_vars)
        ratio = tissue.X.sum(axis=1).mean() / cells.X.sum(axis=1).mean()
        assert ratio == pytest.approx(n, rel=0.1)
        near = spatial_knn(tissue.obsm["spatial"], 6).ids
        assert coherence(tissue.obs["cell_type"].cat.codes.to_numpy(), near).share > 0.8


@pytest.fixture
def cortex_table(tmp_path, data, quick, read, monkeypatch):
    """Runs the benchmark of Visium slices on a small simulated cortex. Returns the page and its rows."""
    monkeypatch.setattr(cortex, "ROWS", 12)
    monkeypatch.setattr(cortex, "COLUMNS", 10)
    monkeypatch.setattr(cortex, "N_GENES", 700)
    monkeypatch.setattr(count_domains, "_MOST_DOMAINS", 3)
    page = tmp_path / "visium.md"

    def table(*arguments):
        visium.main(["--data", str(data), "--out", str(page), "--seeds", "0", *arguments, *quick])
        return read(page)

    return table


def test_the_table_of_visium_slices_has_a_column_for_each_number_of_genes_and_kind(cortex_table):
    text, rows = cortex_table("--genes", "50,700", "--kinds", "plain", "--steps", "scrcl, default")
    assert "| ARI | 50: plain | 50: mean | 700: plain | 700: mean |" in text
    assert [row["method"] for row in rows] == ["scrcl, default", visium.FOUND, "baseline"] * 2
    assert {row["n_labels"] for row in rows} == {7}


def test_uneven_kinds_have_rows_of_other_clusterings_and_leave_the_other_kinds_as_they_were(
    cortex_table, monkeypatch
):
    steps = ["--steps", "scrcl, default;- k-means;- linkage", "--kinds", "lifelike faint"]
    _, rows = cortex_table("--genes", "50", *steps)
    assert [row["method"] for row in rows] == [
        "scrcl, default", visium.FOUND, "- k-means", "- linkage", "baseline"
    ]  # fmt: skip
    assert visium._kinds("uneven") == list(cortex.UNEVEN)
    plain = cortex.cortex("plain", n_genes=50)
    monkeypatch.setitem(cortex.UNEVEN, "like plain", cortex.Kind())
    assert (plain.X != cortex.cortex("like plain", n_genes=50).X).nnz == 0


def test_layers_of_a_simulated_cortex_lie_together_and_fewer_genes_are_the_first_of_them(
    monkeypatch,
):
    monkeypatch.setattr(cortex, "N_GENES", 700)
    cells, fewer = (cortex.cortex("plain", n_genes=n) for n in (700, 20))
    near = spatial_knn(cells.obsm["spatial"], 6).ids
    assert coherence(cells.obs["cell_type"].cat.codes.to_numpy(), near).share > 0.8
    assert fewer.shape == (cells.n_obs, 20)
    profiles = cortex.measured_profiles(cells)
    assert profiles.sum(axis=1) == pytest.approx(np.ones(7))


def test_bins_lie_on_a_grid_and_their_run_has_cpu_seconds_of_each_stage(tmp_path):
    file = tmp_path / "bins.h5ad"
    bins.write_bins(file, 400, n_genes=60, counts=40)
    stages = run_timed(
        file, tmp_path / "out", settings=FAST_SETTINGS, until="tissue", memory="2GB", spatial=True
    )
    assert [stage["name"] for stage in stages][-1] == "tissue"
    assert all(stage["cpu_seconds"] >= 0 for stage in stages)
    rows = [
        {"n_cells": n, "ari": None, "peak_rss_bytes": 1, "input_bytes": 1, "out_bytes": 1}
        | {"stages": [{"name": "graph", "cpu_seconds": n / 10, "peak_rss_bytes": 1}]}
        for n in (10, 40)
    ]
    (line,) = [line for line in bins._table(rows) if line.startswith("| graph")]
    assert line.endswith("| 1.00 |")
