import pickle

import pytest

from scrcl._sizes import format_bytes, parse_bytes
from scrcl.cluster.settings import REFINED_BY, ClusterConfig
from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GB", 2 * 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5 g", 1_500_000_000),
        (4096, 4096),
        ("77", 77),
    ],
)
def test_sizes_are_read_with_their_units(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["2 apples", "GB", "", "1..5GB", "12GBB"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="memory must be a size"):
        parse_bytes(text)


def test_sizes_are_shown_with_three_digits():
    assert [format_bytes(n) for n in (12, 3_400, 2_500_000, 1.2e9, 3e12)] == [
        "12 B", "3 kB", "2.5 MB", "1.2 GB", "3 TB",
    ]  # fmt: skip


def test_settings_win_over_options_and_options_over_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nn_clusters = 3\n[train]\nlr = 0.5\nsteps = 7\n")
    config = load_config(file, settings=["train.lr=0.25"], overrides={"seed": 2})
    assert (config.seed, config.n_clusters, config.train.lr, config.train.steps) == (2, 3, 0.25, 7)


def test_the_resolved_settings_can_be_read_back(tmp_path):
    config = RunConfig(
        n_clusters=5, memory="3GB", layer="raw", train={"lr": 5e-4}, scrcl={"dim": 8}
    )
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml())
    assert load_config(file) == config
    assert pickle.loads(pickle.dumps(config)).method_settings.dim == 8


def test_where_to_compute_is_no_part_of_what_is_computed():
    here, there = RunConfig(memory="1GB", device="cpu"), RunConfig(memory="9GB", device="cuda")
    assert here.fingerprinted() == there.fingerprinted()
    assert here.fingerprinted() == RunConfig(train={"sampler": "torch-sparse"}).fingerprinted()
    assert here.fingerprinted() != RunConfig(seed=1).fingerprinted()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.lrr=1"], "train.lrr must be a known setting; got 1. Did you mean train.lr?"),
        (["train.dim=8"], "train.dim must be a known setting; got 8. Did you mean scrcl.dim?"),
        (["scrcl.dimm=8"], "scrcl.dimm must be a known setting; got 8. Did you mean scrcl.dim?"),
        (["scrcl.dim=0"], "scrcl.dim must be greater than or equal to 1; got 0"),
        (["scrcl.dim=true"], "scrcl.dim must be a whole number; got True"),
        (["scrcl=3"], "scrcl must be a group of settings; got 3"),
        (["method=other"], "method must be scrcl; got 'other'"),
        (["cluster.on=hidden"], "cluster.on .* got 'hidden'"),
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
        (["nothing.at.all=1"], "nothing must be a known setting; .* There are: n_clusters"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(settings, message):
    with pytest.raises(InputError, match=message) as raised:
        load_config(settings=settings)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path):
    with pytest.raises(InputError, match="readable"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    with pytest.raises(InputError, match="TOML"):
        load_config(broken)


def test_a_cut_of_more_groups_than_there_are_needs_groups_of_its_own():
    groups = [ClusterConfig(also=also).most_groups(20_000, 8) for also in ((), (20,), (20, 2000))]
    assert groups == [300, 300, 5000]


def test_labels_are_refined_by_default_where_there_are_places():
    assert [RunConfig(spatial=spatial).refined_by for spatial in (False, True)] == [0, REFINED_BY]
    given = [RunConfig(spatial=True, cluster={"refine_labels": n}).refined_by for n in (0, 7)]
    assert given == [0, 7]
    for wrong in (-1, 1.5, True, "many"):
        with pytest.raises(InputError, match="refine_labels must be auto or a whole number"):
            load_config(overrides={"spatial": True, "cluster": {"refine_labels": wrong}})
