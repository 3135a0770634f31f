"""The benchmark of three simulations at toy size."""

import pytest

from bench.accuracy.simulations import main
from tests.cells import FAST


@pytest.mark.slow
def test_every_way_has_a_score_at_each_level_and_a_line_in_the_plot(tmp_path, read):
    page = tmp_path / "simulations.md"
    tiny = ["dim=8", "hidden_dim=16", "gene_dim=4", "n_clusters=4", "context_cells=32"]
    settings = [f"{group}.{name}={value}" for group in ("reduce", "graph", "scrcl")
                for name, value in FAST[group].items()]  # fmt: skip
    settings += ["train.steps=2", *(f"scgpcl.{one}" for one in tiny)]
    sizes = ["--cells", "150", "--genes", "80", "--types", "4", "--every", "4"]
    given = [part for one in settings for part in ("--set", one)]
    main(["--only", "dropout", *sizes, *given, "--out", str(page)])
    text, rows = read(page)
    assert {row["way"] for row in rows} >= {
        "scrcl", "scRCL, k-means", "scGPCL, k-means", "PCA, k-means", "PCA, Leiden"
    }  # fmt: skip
    assert {row["level"] for row in rows} == {0.0}
    assert all(row["n_clusters"] == 4 for row in rows if row["way"] != "PCA, Leiden")
    assert "### dropout" in text
    assert f"]({page.stem}.png)" in text
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
