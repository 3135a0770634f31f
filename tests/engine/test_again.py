"""A finished run that is redone from its clusters or its report, with other settings."""

import json

import anndata
import pytest

import scrcl
from scrcl._progress import Silent
from scrcl.engine.config import RunConfig
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
    with pytest.raises(ResumeError, match='start="cluster"'):
        run_files([cells], tmp_path / "out", six)
    result = run_files([cells], tmp_path / "out", six, start="cluster")
    after = times(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {
        *("cluster", "batches", "links", "markers", "associations", "names", "subclusters"),
        *("pseudotime", "report"),
    }
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


def test_a_report_alone_is_redone_and_keeps_the_clusters(tmp_path, cells, config):
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
            r"no stage before cluster reads; .* \(`seed` is 0 .* 5 here\)\. .* in this one\.$",
        ),
        (
            {"n_clusters": 3},
            "report",
            r"before report reads; .* \(`n_clusters` is 4 .* Or use `start=\"cluster\"`: ",
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


def test_a_run_that_is_not_finished_or_not_there_cannot_be_redone(tmp_path, cells, config):
    with pytest.raises(StoreError, match=r"no run\.json"):
        run_files([cells], tmp_path / "out", config, start="cluster")
    assert not (tmp_path / "out").exists()
    run_files([cells], tmp_path / "out", config, until="graph")
    with pytest.raises(ResumeError, match=r"finished up to doublets; .* is not finished"):
        run_files([cells], tmp_path / "out", config, start="cluster")


def test_what_cannot_be_redone_yet_is_offered_for_later(tmp_path, cells, config):
    out, six = tmp_path / "out", config_of(config, n_clusters=6)
    run_files([cells], out, config, until="graph")
    with pytest.raises(ResumeError, match="Or run it to the end with the settings that it has"):
        run_files([cells], out, six)


def test_settings_that_are_kept_are_named(tmp_path, cells, config):
    class Hears(Silent):
        heard = ()

        def note(self, message):
            self.heard += (message,)

    run_files([cells], tmp_path / "out", config, until="cluster")
    reporter, given = Hears(), RunConfig(cluster={"vote_cells": 500})
    run_files([cells], tmp_path / "out", given, start="cluster", until="cluster", reporter=reporter)
    (note,) = reporter.heard
    assert note.startswith("From the earlier run: n_clusters = 4")
    assert "vote_cells" not in note
    assert "seed" not in note


@pytest.mark.parametrize(
    ("start", "restart", "named"), [("train", False, "'train'"), ("cluster", True, "restart")]
)
def test_a_start_that_cannot_be_used_is_refused(tmp_path, cells, config, start, restart, named):
    with pytest.raises(InputError, match=f"start must .*{named}"):
        run_files([cells], tmp_path / "out", config, start=start, restart=restart)


def test_a_second_clustering_that_ended_early_resumes_with_its_settings(tmp_path, cells, config):
    out, six = tmp_path / "out", config_of(config, n_clusters=6)
    run_files([cells], out, config)
    run_files([cells], out, six, start="cluster", until="cluster")
    assert not list(out.glob("result.*"))
    result = run_files([cells], out, six)
    assert anndata.read_h5ad(result.result_path).obs["scrcl"].nunique() == 6


def test_python_offers_it(tmp_path, cells, config):
    run_files([cells], tmp_path / "out", config)
    found = scrcl.fit(cells, n_clusters=3, out=tmp_path / "out", start="cluster", config=config)
    assert found.obs["scrcl"].nunique() == 3
