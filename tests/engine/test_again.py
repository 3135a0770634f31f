"""A run taken up again from its clusters or its report, with other settings of theirs."""

import json

import anndata
import pytest

import scrcl
from scrcl.engine.run import run_files
from scrcl.errors import InputError, ResumeError, StoreError
from tests.cells import make_cells


@pytest.fixture
def cells(tmp_path):
    path = tmp_path / "cells.h5ad"
    make_cells().write_h5ad(path)
    return path


def config_of(config, **changes):
    return config.model_copy(update=changes)


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "stages").iterdir()}


def test_other_clusters_are_those_of_a_run_with_them_and_nothing_is_trained_again(
    tmp_path, cells, config
):
    run_files([cells], tmp_path / "out", config_of(config, n_clusters=4))
    before = times(tmp_path / "out")
    six = config_of(config, n_clusters=6, format="zarr")
    with pytest.raises(ResumeError, match="--from cluster keeps what was trained"):
        run_files([cells], tmp_path / "out", six)
    result = run_files([cells], tmp_path / "out", six, start="cluster")
    after = times(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {"cluster", "report"}
    assert not (tmp_path / "out" / "result.h5ad").exists()
    alone = run_files([cells], tmp_path / "alone", six)
    again, expected = (anndata.read_zarr(each.result_path) for each in (result, alone))
    assert again.obs["scrcl"].nunique() == 6
    assert again.obs["scrcl"].equals(expected.obs["scrcl"])
    manifests = [
        json.loads((tmp_path / name / "run.json").read_text()) for name in ("out", "alone")
    ]
    assert manifests[0]["fingerprint"] == manifests[1]["fingerprint"]
    resumed = run_files([cells], tmp_path / "out", six)
    assert times(resumed.out) == after


def test_a_report_alone_is_made_anew_and_keeps_the_clusters(tmp_path, cells, config):
    run_files([cells], tmp_path / "out", config)
    before = times(tmp_path / "out")
    asked = config_of(config, report=config.report.model_copy(update={"n_markers": 3}))
    run_files([cells], tmp_path / "out", asked, start="report")
    after = times(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {"report"}


@pytest.mark.parametrize(
    ("changes", "start", "message"),
    [
        (
            {"seed": 5},
            "cluster",
            r"differs in n_clusters, cluster.method, .* alone; .* \(seed is 0",
        ),
        (
            {"n_clusters": 3},
            "report",
            r"differs in report, format, keep_x alone; .* \(n_clusters is",
        ),
    ],
)
def test_settings_of_earlier_stages_are_refused_and_nothing_is_lost(
    tmp_path, cells, config, changes, start, message
):
    out = tmp_path / "out"
    run_files([cells], out, config)
    before, manifest = times(out), (out / "run.json").read_bytes()
    with pytest.raises(ResumeError, match=message):
        run_files([cells], out, config_of(config, **changes), start=start)
    assert (times(out), (out / "run.json").read_bytes()) == (before, manifest)
    assert (out / "result.h5ad").exists()


def test_what_is_not_finished_or_not_there_cannot_be_taken_up(tmp_path, cells, config):
    with pytest.raises(StoreError, match=r"no run\.json"):
        run_files([cells], tmp_path / "out", config, start="cluster")
    assert not (tmp_path / "out").exists()
    run_files([cells], tmp_path / "out", config, until="graph")
    with pytest.raises(ResumeError, match=r"finished up to embed; .* has no stage genes"):
        run_files([cells], tmp_path / "out", config, start="cluster")


@pytest.mark.parametrize(("start", "restart"), [("train", False), ("cluster", True)])
def test_a_start_that_is_none_is_refused(tmp_path, cells, config, start, restart):
    with pytest.raises(InputError, match="from must"):
        run_files([cells], tmp_path / "out", config, start=start, restart=restart)


def test_a_killed_second_look_goes_on_with_the_settings_that_it_had(tmp_path, cells, config):
    out, six = tmp_path / "out", config_of(config, n_clusters=6)
    run_files([cells], out, config)
    run_files([cells], out, six, start="cluster", until="cluster")
    assert not list(out.glob("result.*"))
    result = run_files([cells], out, six)
    assert anndata.read_h5ad(result.result_path).obs["scrcl"].nunique() == 6


def test_python_offers_it(tmp_path, cells, config):
    run_pipeline([cells], tmp_path / "out", config)
    found = scrcl.fit(cells, n_clusters=3, out=tmp_path / "out", start="cluster", config=config)
    assert found.obs["scrcl"].nunique() == 3
