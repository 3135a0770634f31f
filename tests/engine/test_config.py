import pickle

import pandas as pd
import pytest

from scrcl._sizes import format_bytes, parse_bytes
from scrcl.cluster.settings import SMOOTHING_CELLS, ClusterSettings
from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GB", 2 * 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5 g", 1_500_000_000),
        (4_096_000, 4_096_000),
        ("7700000", 7_700_000),
        ("4e9", 4 * 10**9),
    ],
)
def test_sizes_are_read_with_their_units(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize(
    "text", ["2 apples", "GB", "", "1..5GB", "1,5GB", "12GBB", "2GB or so", "-1GB", True]
)
def test_text_without_a_size_is_refused(text):
    with pytest.raises(ValueError, match="memory") as raised:
        parse_bytes(text)
    assert repr(text) in str(raised.value)


def test_sizes_are_shown_with_two_decimals():
    assert [format_bytes(n) for n in (12, 3_400, 2_500_000, 1.2e9, 3e12)] == [
        "12 bytes", "3.40 kB", "2.50 MB", "1.20 GB", "3.00 TB",
    ]  # fmt: skip


def test_settings_win_over_options_and_options_over_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nn_clusters = 3\n[train]\nlr = 0.5\nsteps = 7\n")
    overrides = {"seed": 2, "train.lr": 0.1, "scrcl.dim": 9}
    config = load_config(file, settings=["train.lr=0.25"], overrides=overrides)
    assert (config.seed, config.n_clusters) == (2, 3)
    assert (config.train.lr, config.train.steps, config.method_settings.dim) == (0.25, 7, 9)


def test_the_resolved_settings_can_be_read_back(tmp_path):
    config = RunConfig(
        n_clusters=5, memory="3GB", layer="raw", train={"lr": 5e-4}, scrcl={"dim": 8}
    )
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml())
    assert load_config(file) == config
    assert pickle.loads(pickle.dumps(config)).method_settings.dim == 8


def test_memory_and_device_are_not_in_the_fingerprint():
    here, there = RunConfig(memory="1GB", device="cpu"), RunConfig(memory="9GB", device="cuda")
    assert here.fingerprinted() == there.fingerprinted()
    assert here.fingerprinted() == RunConfig(train={"sampler": "torch-sparse"}).fingerprinted()
    assert here.fingerprinted() != RunConfig(seed=1).fingerprinted()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.lrr=1"], "train.lrr must be a known setting; got 1. Did you mean train.lr?"),
        (
            ["graph.n_comps=8"],
            "graph.n_comps must .* got 8. Did you mean reduce.n_comps or pseudotime.n_comps?",
        ),
        (
            ["n_top_genes=8"],
            r"Did you mean features.n_top_genes, in Python features={'n_top_genes'",
        ),
        (["random_state=8"], "random_state must .* got 8. Did you mean seed?"),
        (["names=x.csv"], "a group of settings; got 'x.csv'. Did you mean names.table,"),
        (["n_cluster=8"], "n_cluster must .* got 8. Did you mean n_clusters?"),
        (["train.lr=0"], "train.lr must be greater than 0; got 0"),
        (["train.lr=fast"], "train.lr must be a valid number"),
        (["n_clusters=1"], "n_clusters must be .*; got 1"),
        (["n_clusters=many"], "n_clusters must be .*; got 'many'"),
        (["memory=lots"], "memory must be a size"),
        (["seed=1", "seed.x=1"], "seed is a value, not a group"),
        (["train.lr"], "--set must be KEY=VALUE"),
        (["device=tpu"], "device must"),
        (["train.lr=inf"], "train.lr must be a finite number"),
        (["train.lr=true"], "train.lr must be a number; got True"),
        (["graph.n_neighbors=true"], "graph.n_neighbors must be a whole number; got True"),
        (["train.fanout=false"], "train.fanout must be a whole number; got False"),
        (["n_clusters=true"], "n_clusters must be auto or a whole number of at least 2; got True"),
        (["memory=inf"], "memory must be a size"),
        (["seed=99999999999999999999"], "seed must be"),
        (["cluster.n_micro=99999999999999999999"], r"cluster.n_micro must be below 2\^63; got 9"),
        (["cluster.also=[99999999999999999999]"], r"cluster.also must be below 2\^63"),
        ([".x=3"], "--set must be KEY=VALUE"),
        (["cluster.also=8,20"], r"cluster.also must be a list, as \[8, 20\]; got '8,20'"),
        (["cluster.also=[1]"], "cluster.also must be greater than or equal to 2; got 1"),
        (["cluster=5"], "cluster must be a group of settings; got 5"),
        (["nothing.at.all=1"], r"nothing\.at\.all must be a known setting; got 1\. .* n_clusters"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(settings, message):
    with pytest.raises(InputError, match=message) as raised:
        load_config(settings=settings)
    assert "\n" not in str(raised.value)


def test_several_columns_or_tissues_may_be_a_list():
    given = {
        "batch_key": ["donor", "stim"],
        "names": {"table": "m.csv", "tissues": ("Blood", "Lung")},
        "report": {"genes": ["CD14"]},
    }
    config = load_config(overrides=given)
    assert config.batch_key == "donor,stim"
    assert (config.names.tissues, config.report.genes) == ("Blood,Lung", "CD14")
    assert load_config(settings=['batch_key=["donor","stim"]']).batch_key == "donor,stim"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_key": ["a,b", "c"]}, "batch_key must be texts without commas; got ['a,b', 'c']."),
        ({"batch_key": []}, "batch_key must be a text; got []."),
        ({"sample_key": ["a"]}, "sample_key must be a text; got ['a']."),
        (
            {"names": {"table": pd.DataFrame({"gene": ["CD3D"]})}},
            "names.table must be the path of a file; got one DataFrame. Save it as a CSV file.",
        ),
        ({"key_added": "k4"}, "Keep a column under a name of your own: adata.obs['first']"),
    ],
)
def test_values_of_other_types_and_settings_of_others_are_named_in_one_line(given, message):
    with pytest.raises(InputError) as raised:
        load_config(overrides=given)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path):
    with pytest.raises(InputError, match="readable"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    with pytest.raises(InputError, match="TOML"):
        load_config(broken)


def test_an_extra_cut_with_more_clusters_has_more_micro_clusters():
    groups = [
        ClusterSettings(also=also).most_micro_clusters(20_000, 8)
        for also in ((), (20,), (20, 2000))
    ]
    assert groups == [300, 300, 5000]


def test_labels_are_smoothed_by_default_in_spatial_runs():
    assert [RunConfig(spatial=spatial).smoothing_cells for spatial in (False, True)] == [
        0,
        SMOOTHING_CELLS,
    ]
    given = [RunConfig(spatial=True, cluster={"refine_labels": n}).smoothing_cells for n in (0, 7)]
    assert given == [0, 7]
    for wrong in (-1, 1.5, True, "many"):
        with pytest.raises(InputError, match="refine_labels must be auto or a whole number"):
            load_config(overrides={"spatial": True, "cluster": {"refine_labels": wrong}})


def test_a_setting_of_earlier_versions_may_stand_in_a_file_as_long_as_it_did_nothing(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 3\n[graph]\nbalanced = false\nn_neighbors = 9\n")
    found = load_config(file)
    assert (found.seed, found.graph.n_neighbors) == (3, 9)
    assert "balanced" not in found.model_dump()["graph"]
    file.write_text("[graph]\nbalanced = true\n")
    with pytest.raises(InputError, match=r"graph\.balanced must be left out; got True"):
        load_config(file)
