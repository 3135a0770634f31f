"""The benchmarks of scGPCL's training at toy size: prototypes, and the number of steps."""

import pytest

from bench.training import lengths
from bench.training.prototypes import main


@pytest.mark.slow
def test_each_way_to_prototypes_has_a_column(data, tmp_path, read):
    page = tmp_path / "prototypes.md"
    tiny = ["dim=8", "hidden_dim=16", "gene_dim=4", "n_clusters=4"]
    settings = ["train.steps=20", "train.minibatch_cells=64", "reduce.n_comps=12"]
    settings += [f"scgpcl.{one}" for one in tiny]
    given = [part for one in settings for part in ("--set", one)]
    main(
        [
            "--data",
            str(data),
            "--sets",
            "plain",
            "--ways",
            "minibatch,10",
            "--out",
            str(page),
            *given,
        ]
    )
    text, rows = read(page)
    assert [row["way"] for row in rows] == ["minibatch", "10"]
    assert all(0 < row["ari"] <= 1 and row["cpu_s"] > 0 for row in rows)
    assert "| plain | 240 |" in text
    assert "ARI, minibatch | ARI, subset, every 10 | time, subset, every 10" in text


@pytest.mark.slow
def test_each_largest_number_of_steps_has_a_column(data, tmp_path, read):
    page = tmp_path / "lengths.md"
    tiny = ["dim=8", "hidden_dim=16", "gene_dim=4", "n_clusters=4"]
    settings = ["train.minibatch_cells=64", "reduce.n_comps=12"]
    settings += [f"scgpcl.{one}" for one in tiny]
    given = [part for one in settings for part in ("--set", one)]
    lengths.main(
        ["--data", str(data), "--sets", "plain", "--steps", "8,4", "--out", str(page), *given]
    )
    text, rows = read(page)
    assert [(row["steps"], row["taken"]) for row in rows] == [(8, 8), (4, 4)]
    assert all(-1 <= row["ari_directions"] <= 1 and row["cpu_s"] > 0 for row in rows)
    assert "ARI, 8 | ARI, 4 | steps taken, 8" in text
