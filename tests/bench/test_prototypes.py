"""The benchmark of updates of prototypes at toy size."""

import pytest

from bench.training.prototypes import main


@pytest.mark.slow
def test_each_number_of_steps_between_updates_has_a_column(data, tmp_path, read):
    page = tmp_path / "prototypes.md"
    tiny = ["dim=8", "hidden_dim=16", "gene_dim=4", "n_clusters=4"]
    settings = ["train.steps=20", "train.minibatch_cells=64", "reduce.n_comps=12"]
    settings += [f"scgpcl.{one}" for one in tiny]
    given = [part for one in settings for part in ("--set", one)]
    main(["--data", str(data), "--sets", "plain", "--every", "10,1", "--out", str(page), *given])
    text, rows = read(page)
    assert [row["every"] for row in rows] == [10, 1]
    assert all(0 < row["ari"] <= 1 and row["cpu_s"] > 0 for row in rows)
    assert "| plain | 240 |" in text
    assert "ARI, every 10 | ARI, every 1 | time, every 1" in text
