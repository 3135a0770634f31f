"""Named settings: below those of the user, and kept with a run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from scrcl import RunConfig
from scrcl._settings import settings_of
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError
from scrcl.train.methods import METHODS, PRESETS
from tests.cells import FAST, make_cells

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "paper").glob("*.toml"))
PRESET = "scrcl-paper"
FEW = {**FAST, "train": {"epochs": 2}, "scrcl": {"dim": 12, "refined_dim": 4}}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_its_method_and_every_setting_that_it_names(name):
    values = {
        each.name: each.value for each in settings_of(load_config(overrides={"preset": name}))
    }
    for group, settings in PRESETS[name].items():
        if group == "method":
            assert values["method"] == settings
            continue
        for setting, value in settings.items():
            assert values[f"{group}.{setting}"] == value


def test_every_method_has_its_published_settings():
    assert set(PRESETS) == {f"{method}-paper" for method in METHODS}


def test_a_file_wins_over_the_preset_and_options_over_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(f'preset = "{PRESET}"\n[train]\nepochs = 7\nlr = 0.5\n')
    config = load_config(file, overrides={"train.lr": 0.25}, settings=["scrcl.dim=3"])
    assert (config.train.epochs, config.train.lr, config.scrcl.dim) == (7, 0.25, 3)
    assert config.train.stop == "never"


def test_the_resolved_settings_are_the_same_without_the_preset():
    config = load_config(overrides={"preset": PRESET, "train": {"epochs": 3}})
    stored = tomllib.loads(config.to_toml())
    assert stored["preset"] == PRESET
    assert RunConfig.model_validate(stored) == config
    del stored["preset"]
    assert RunConfig.model_validate(stored).fingerprinted() == config.fingerprinted()


def test_an_unknown_preset_and_one_of_another_method_are_refused(scrcl, cells, tmp_path):
    out = tmp_path / "out"
    code, _, err = scrcl("run", cells, "-o", out, "--preset", "paper")
    assert code == 2
    assert "preset must be scrcl-paper or scgpcl-paper; got 'paper'" in err
    code, _, err = scrcl("run", cells, "-o", out, "--preset", PRESET, "--method", "scgpcl")
    assert code == 2
    assert "must go with method scrcl; got method 'scgpcl'" in err
    assert not out.exists()


def test_a_run_by_a_preset_resumes_and_predicts(scrcl, cells, tmp_path):
    out = tmp_path / "out"
    sets = [
        part
        for group, inner in FEW.items()
        for name, value in inner.items()
        for part in ("--set", f"{group}.{name}={json.dumps(value)}")
    ]
    command = ["run", cells, "-o", out, "--preset", PRESET, "--n-clusters", 4, "--quiet", *sets]
    code, _, err = scrcl(*command, "--until", "inputs")
    assert not code, err
    code, _, err = scrcl(*command)
    assert not code, err
    config = load_config(out / "config.toml")
    assert (config.preset, config.scrcl.features, config.clustered_on) == (
        PRESET,
        "counts",
        "refined",
    )
    manifest = json.loads((out / "run.json").read_text())
    train = next(each for each in manifest["stages"] if each["name"] == "train")
    assert train["n_steps"] == 2
    code, _, err = scrcl("predict", out, cells, "-o", tmp_path / "to", "--quiet")
    assert not code, err


def test_counts_as_inputs_need_counts(scrcl, tmp_path):
    adata = make_cells()
    adata.X.data = np.log1p(adata.X.data)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "out"
    code, _, err = scrcl("run", tmp_path / "cells.h5ad", "-o", out, "--preset", PRESET, "--quiet")
    assert code == 2
    assert "scrcl.features = counts must have counts; the values are log values" in err
    assert "scrcl.features=hvg" in err
    assert not out.exists()


def test_the_command_that_lists_settings_shows_those_of_a_preset(scrcl):
    code, shown, err = scrcl("settings", "train", "--preset", PRESET, "--json")
    assert not code, err
    assert {"name": "train.epochs", "value": 500}.items() <= {
        name: row[name]
        for row in json.loads(shown)
        if row["name"] == "train.epochs"
        for name in ("name", "value")
    }.items()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_loads(path):
    config = load_config(path)
    assert path.stem.startswith(config.preset.removesuffix("paper"))
    assert isinstance(config.n_clusters, int)
    assert getattr(config.method_settings, "n_clusters", config.n_clusters) == config.n_clusters


def test_there_is_an_example_for_each_set_of_the_papers():
    assert len(EXAMPLES) == 14 + 9


@pytest.mark.parametrize(
    ("asked", "n_genes", "n"), [(2000, 50, 50), (10, 50, 10), (0.2, 50, 10), (0.01, 50, 2)]
)
def test_genes_are_a_number_or_a_share(asked, n_genes, n):
    config = load_config(overrides={"features.n_top_genes": asked})
    assert config.features.n_selected(n_genes) == n
    assert RunConfig.model_validate(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize("asked", [1, 0, 2.5, -0.1, "many", True])
def test_other_numbers_of_genes_are_refused(asked):
    with pytest.raises(InputError, match=r"features\.n_top_genes must be .* share"):
        load_config(overrides={"features.n_top_genes": asked})
