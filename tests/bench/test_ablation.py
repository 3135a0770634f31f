"""The benchmark of parts of the default settings at toy size."""

import json

import pandas as pd
import pytest
import torch

from bench._frame.runs import config_of
from bench._frame.training import fresh, prepared, setup_of
from bench.ablation.__main__ import main
from bench.ablation.choice import choices
from bench.ablation.encoders import SingleCells
from bench.ablation.runs import runs
from bench.ablation.tables import tables
from bench.ablation.variations import GROUPS, variations
from scrcl.train.methods.scrcl.minibatch import ScrclMinibatches
from tests.cells import FAST_SETTINGS


@pytest.mark.slow
def test_a_table_holds_each_variation_and_takes_rows_of_earlier_runs(tmp_path, data, options, read):
    page = tmp_path / "ablation.md"
    main(options(data=data, out=page, seeds=0, only="encoders"))
    text, rows = read(page)
    assert len(rows) == 2 * len(variations(["encoders"]))
    default = [row for row in rows if row["variation"] == "default" and not row["spatial"]]
    assert all(row["ari"] > 0.9 and row["n_clusters"] == 4 for row in default)
    plain, tissue = text.split("## Spatial sets")
    assert "| encoders | two MLPs |" in plain
    assert "| ARI | plain |" in plain
    assert "| ARI | tissue |" in tissue
    again, cases = tmp_path / "again.md", page.with_suffix(".jsonl")
    main(options(data=data, out=again, seeds=0, only="encoders", cases=cases))
    repeated, kept = read(again)
    assert sorted(kept, key=str) == sorted(rows, key=str)  # nothing was run again
    assert set(repeated.split("## ", 1)[1].splitlines()) == set(
        text.split("## ", 1)[1].splitlines()
    )


@pytest.mark.slow
def test_only_variations_that_differ_in_training_are_trained(data):
    names = {"default", "without L_CVC", "by ward", "of embedding"}
    chosen = [one for one in variations(["losses", "clustering"]) if one.name in names]
    rows = list(runs(data / "plain.h5ad", chosen, [0], set()))
    seconds = {row["variation"]: row["train_seconds"] for row in rows}
    assert set(seconds) == names
    assert seconds["by ward"] == seconds["of embedding"] == seconds["default"]
    assert seconds["without L_CVC"] != seconds["default"]


def test_rows_of_unknown_variations_are_refused(tmp_path, data, options):
    cases, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    cases.write_text(json.dumps({"variation": "moods"}))
    with pytest.raises(SystemExit, match="'moods'"):
        main(options(data=data, out=page, cases=cases))
    assert not page.exists()


def test_a_choice_is_scored_on_the_set_that_was_left_out_of_it():
    gains = pd.DataFrame(
        {
            "default": 0.0,
            "bold": [0.4, -0.1, -0.1],
            "mild": [0.02, 0.02, 0.02],
            "gap": [-1, -1, None],
        },
        index=["a", "b", "c"],
    )
    lines = choices(gains, {"moods": ["bold", "mild"], "kinds": ["mild"], "holes": ["gap"]})[2:]
    # Without "a" mild is best, which is worth .02 there; without "b" or "c" bold is, which is worth -.1.
    assert lines[0] == "| moods | 3 | bold | +0.067 | bold (2), mild (1) | -0.060 |"
    assert lines[1] == "| kinds | 3 | mild | +0.020 | mild (3) | +0.020 |"
    assert lines[2] == "| holes | 2 | default | +0.000 | default (2) | +0.000 |"
    assert lines[3].startswith("| all | 2 | bold |")


def test_a_variation_is_compared_with_the_default_of_its_own_seeds():
    row = {
        "spatial": False,
        "acc": 0.5,
        "nmi": 0.5,
        "steps": 9,
        "train_seconds": 1.0,
        "commit": "c",
    }
    default = [
        row
        | {"group": "default", "variation": "default", "dataset": name, "seed": seed, "ari": ari}
        for name in ("a", "b")
        for seed, ari in enumerate((0.4, 0.8))
    ]
    varied = [
        row | {"group": "model", "variation": "dim 1", "dataset": name, "seed": 1, "ari": 0.9}
        for name in ("a", "b")
    ]
    means = tables([*default, *varied])
    assert any(line.startswith("| default | default | 2 | ") and "| **0.600** | 0.200 |" in line
               for line in means)  # fmt: skip
    assert any(line.startswith("| model | dim 1 | 1 | ") and "| +0.100 ± 0.000 |" in line
               for line in means)  # fmt: skip


def test_every_variation_differs_from_the_default_and_from_the_others():
    chosen = variations(list(GROUPS))
    names = [one.name for one in chosen]
    assert len(set(names)) == len(names)
    default = chosen[0].config()
    assert all(one.config() != default or one.two_mlps for one in chosen[1:])


def test_two_mlps_mix_no_cell_with_another_and_lose_no_pair(data):
    config = config_of([*FAST_SETTINGS, "train.minibatch_cells=100"])
    inputs = prepared(data / "plain.h5ad", config).inputs
    how = setup_of(config)
    model = fresh(inputs, how).learner.model.eval()
    single, mixed = (kind(inputs, how).batch(0) for kind in (SingleCells, ScrclMinibatches))
    n_seeds = single.n_seeds
    expected = model.encode_gcn_output(model.encode_gcn_hidden(single.cells.x[:n_seeds]))
    assert torch.allclose(model.encode_gcn(single.cells), expected, atol=1e-6)
    assert not torch.allclose(model.encode_gcn(mixed.cells), expected, atol=1e-2)
    assert torch.equal(single.edges.pattern.columns_p, mixed.edges.pattern.columns_p)
