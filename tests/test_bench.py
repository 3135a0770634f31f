"""The benchmarks at toy size, so that they cannot rot."""

import json

import pytest

from bench import accuracy, scale
from tests.cells import FAST_SETTINGS, make_cells


@pytest.fixture
def quick():
    return [part for setting in FAST_SETTINGS for part in ("--set", setting)]


@pytest.mark.slow
def test_the_accuracy_table_has_a_row_a_set_and_keeps_spatial_sets_apart(tmp_path, quick):
    (tmp_path / "data").mkdir()
    make_cells().write_h5ad(tmp_path / "data" / "plain.h5ad")
    make_cells(spatial=True).write_h5ad(tmp_path / "data" / "tissue.h5ad")
    out = tmp_path / "table.md"
    arguments = ["--data", str(tmp_path / "data"), "--out", str(out), "--seeds", "0", *quick]
    accuracy.main(arguments)
    text = out.read_text()
    assert "| plain | 240 | 4 |" in text.split("### Spatial sets")[0]
    assert "| tissue | 240 | 4 |" in text.split("### Spatial sets")[1]
    rows = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert {row["method"] for row in rows} == {"pca_kmeans", "pca_leiden", "scrcl"}
    assert all(0 <= row["nmi"] <= 1 and row["peak_rss_bytes"] > 50e6 for row in rows)
    assert all(row["ari"] > 0.9 for row in rows if row["method"] == "pca_kmeans")


@pytest.mark.slow
def test_the_scale_table_has_a_row_a_stage(tmp_path, quick):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "scale.md"
    scale.main(
        ["--from", str(tmp_path / "cells.h5ad"), "--cells", "300", "--out", str(out), *quick]
    )
    text = out.read_text()
    for stage in ("read", "train", "report", "**whole process**"):
        assert f"| {stage} |" in text
    assert json.loads(out.with_suffix(".json").read_text())[0]["n_cells"] == 300
