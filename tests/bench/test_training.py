"""The benchmarks of training at toy size."""

import pytest
import torch

from bench._frame import runs
from bench.training.__main__ import main
from bench.training.equivalence.__main__ import main as equivalence
from tests.cells import FAST_SETTINGS


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("trained") / "run"
    runs.run(data / "plain.h5ad", out, runs.config_of(FAST_SETTINGS, device="cpu"), until="train")
    return out


@pytest.mark.slow
@pytest.mark.xdist_group("training")  # one worker makes the fixture
def test_steps_are_compared_with_the_best_rates_and_with_the_dense_form(
    trained_run, tmp_path, options, read
):
    page, variants = tmp_path / "table.md", ["uniform, bfloat16", "pieces of 128"]
    main(
        options(
            runs=trained_run, steps=3, rate_repeats=1, settings='{"minibatch_cells": 60}', variants=";".join(variants),
            sizes="50,200,9000", out=page,
        )
    )  # fmt: skip
    text, rows = read(page)
    found = {row["section"]: row["found"] for row in rows}
    assert [row["variant"] for row in found["steps"]] == variants
    for row in found["steps"]:
        assert row["seeds"] == 60
        assert row["anchors"] >= 60
        assert 0 <= row["waiting"] < 1
        assert row["peak_rss_bytes"] > 10**8
        assert row["ceilings"]["copy_gbytes"] > 0
        assert row["operators"][-1]["name"] == "others"
    assert [row["n_cells"] for row in found["dense"]] == [50, 200]
    assert all(row["relative_difference"] < 1e-3 for row in found["dense"])
    assert "| 240 | pieces of 128 |" in text


def test_without_a_gpu_its_steps_are_skipped(capsys, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    main(["--runs", str(tmp_path), "--device", "cuda"])
    assert "skipped" in capsys.readouterr().out


@pytest.fixture(scope="session")
def compared(tmp_path_factory, data, options, read):
    """The page of mini-batches against full batches, and what each section found."""
    page = tmp_path_factory.mktemp("equivalence") / "equivalence.md"
    equivalence(
        options(
            data=data, sets="plain", out=page, seeds=0, stop_seeds=0, steps=20, long_steps=50,
            first=20, batch=100, batch_sizes="60,120", pieces=10, points="0,5", copies_of="plain",
            copies_cells=200, copies="1,2", copies_batch=128,
        )
    )  # fmt: skip
    text, rows = read(page)
    return text, {row["section"]: row["found"] for row in rows}


@pytest.mark.slow
@pytest.mark.xdist_group("training")  # one worker makes the fixture
def test_clusters_of_mini_batches_are_compared_with_those_of_full_batches(compared):
    text, found = compared
    rows = found["accuracy"]
    assert [row["mode"] for row in rows] == ["full", "moments", "sampled"]
    assert [row["minibatch_cells"] for row in rows[:3]] == [240, 100, 100]
    assert all(row["ari"] > 0.9 and sum(row["losses"].values()) > 0 for row in rows)
    assert "| plain | 240 | 100 |" in text
    assert "## Clusters after equal steps" in text


@pytest.mark.slow
@pytest.mark.xdist_group("training")  # one worker makes the fixture
def test_losses_during_training_are_compared_with_those_of_full_batches(compared):
    text, found = compared
    rows = found["curves"]
    assert [row["mode"] for row in rows] == ["full", "moments", "sampled"]
    assert all(len(row["losses"]) == 3 and row["losses"][-1] < row["losses"][0] for row in rows)
    assert "| 20 |" in text


@pytest.mark.slow
@pytest.mark.xdist_group("training")  # one worker makes the fixture
def test_the_stop_is_compared_with_fixed_steps_and_the_best_step(compared):
    text, found = compared
    for row in found["stopping"]:
        assert [int(step) for step in row["ari"]] == list(range(20, 51, 10))
        assert [check["step"] for check in row["kept"]] == list(range(20, 51, 10))
        assert str(row["stopped_at"]) in row["ari"]
    assert "| plain | full | 1 |" in text


@pytest.mark.slow
@pytest.mark.xdist_group("training")  # one worker makes the fixture
def test_one_atlas_is_drawn_and_trained_at_several_sizes(compared):
    _, found = compared
    assert [row["n_cells"] for row in found["copies"]] == [200, 400]
    assert all(row["ari"] > 0.9 for row in found["copies"])


@pytest.mark.slow
@pytest.mark.xdist_group("training")  # one worker makes the fixture
def test_gradients_of_larger_mini_batches_are_nearer_to_the_full_one_and_sampled_ones_unbiased(
    compared,
):
    rows = compared[1]["gradients"]
    cosine = {
        (row["after_steps"], row["minibatch_cells"], row["piece_cells"], row["negatives"]): row[
            "cosine"
        ]
        for row in rows
    }
    for steps in (0, 5):
        for means in ("moments", "sampled", "batch"):
            small, large = cosine[steps, 60, 1, means], cosine[steps, 120, 1, means]
            assert 0.8 < small < large <= 1
            assert cosine[steps, 60, 10, means] < small
    assert all(row["bias"] < 0.02 for row in rows if row["negatives"] == "sampled")
