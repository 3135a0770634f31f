"""A new stage is one class and its place in the list: plan, run, resume, redo, result and report follow."""

import json

import anndata
import numpy as np
import pytest

from scrcl._contract import Estimate
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.open_run import OpenRun
from scrcl.engine.plan import plan_run
from scrcl.engine.predict import new_cell_stages
from scrcl.engine.run import run_files
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages import STAGES
from scrcl.engine.stages.graph import GraphStage
from scrcl.errors import InputError, StoreError
from scrcl.graph.artifacts import NEIGHBOR_DISTANCES, NEIGHBOR_IDS
from scrcl.io.arrays import stored_array
from scrcl.prep.artifacts import COMPONENTS
from scrcl.report.page import Section

SIZES = stored_array("sizes", "sizes.npy")


class SizeRecord(Record):
    largest: int


class SizeStage(Stage[SizeRecord]):
    name = "sizes"
    record = SizeRecord
    gives = (SIZES,)
    owned_obs = ("scrcl_size",)

    def estimate(self, shape, config):
        return Estimate(5 * 10**8, disk_bytes=8 * shape.n_cells)

    def run(self, context, folder):
        labels = context.open(LABELS)
        np.save(folder / "sizes.npy", np.bincount(labels)[labels])
        return SizeRecord(n_cells=len(labels), largest=int(np.bincount(labels).max()))

    def headline(self, record):
        return {"largest": record.largest}

    def keys(self, run):
        return AnnDataKeys(obs={"scrcl_size": run.open(SIZES).astype(np.float32)})

    def section(self, run):
        return Section("Sizes", facts={"largest": f"{run.record(SizeStage).largest} in one"})


BEFORE_REPORT = (*STAGES[:-1], SizeStage(), STAGES[-1])
LAST = (*STAGES, SizeStage())


class Dies(SizeStage):
    def run(self, context, folder):
        super().run(context, folder)
        raise KeyboardInterrupt


def dying(stages):
    return [Dies() if isinstance(stage, SizeStage) else stage for stage in stages]


def opened(out, stages, config):
    return OpenRun(RunFolder(out, read_manifest(out)), stages, config)


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "stages").iterdir()}


@pytest.mark.parametrize("stages", [BEFORE_REPORT, LAST], ids=["before the report", "last"])
def test_a_plan_lists_a_new_stage_with_its_bytes(cells, config, stages):
    rows = {row.name: row for row in plan_run([cells], config, stages=stages).stages}
    assert list(rows) == [stage.name for stage in stages]
    assert (rows["sizes"].peak_bytes, rows["sizes"].disk_bytes) == (5 * 10**8, 8 * 240)
    early = plan_run([cells], config, stages=stages, until="sizes")
    assert early.stages[-1].name == "sizes"


def test_a_new_stage_before_the_report_is_in_the_record_the_result_and_the_report(
    cells, tmp_path, config
):
    result = run_files([cells], tmp_path / "out", config, stages=BEFORE_REPORT)
    run = opened(result.out, BEFORE_REPORT, config)
    sizes = np.bincount(run.labels)[run.labels]
    assert np.array_equal(run.open(SIZES), sizes)
    assert run.record(SizeStage).largest == run.manifest["largest"] == sizes.max()
    assert [entry["name"] for entry in result.stages][-2:] == ["sizes", "report"]
    found = anndata.read_h5ad(result.result_path)
    assert found.obs["scrcl_size"].tolist() == sizes.tolist()
    assert f"{sizes.max()} in one" in result.report_path.read_text()


def test_a_new_stage_after_the_report_leaves_the_result_where_it_was(cells, tmp_path, config):
    result = run_files([cells], tmp_path / "out", config, stages=LAST)
    assert result.stages[-1]["name"] == "sizes"
    assert result.result_path == tmp_path / "out" / "result.h5ad"
    assert result.report_path.exists()
    assert len(result.clusters) == 4
    run = opened(result.out, LAST, config)
    assert run.result_path == result.result_path
    assert run.record(SizeStage).largest == result.clusters[0]["n_cells"]
    assert "scrcl_size" not in run.to_anndata().obs


@pytest.mark.parametrize("stages", [BEFORE_REPORT, LAST], ids=["before the report", "last"])
def test_a_run_killed_in_a_new_stage_resumes_there_and_ends_the_same(
    cells, tmp_path, config, stages
):
    unbroken = run_files([cells], tmp_path / "unbroken", config, stages=stages)
    with pytest.raises(KeyboardInterrupt):
        run_files([cells], tmp_path / "out", config, stages=dying(stages))
    assert not (tmp_path / "out" / "stages" / "sizes").exists()
    before = times(tmp_path / "out")
    resumed = run_files([cells], tmp_path / "out", config, stages=stages)
    assert not list((tmp_path / "out").rglob("*.partial"))
    after = times(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    for name in ("sizes/sizes.npy", "cluster/labels.npy"):
        parts = [result.out / "stages" / name for result in (unbroken, resumed)]
        assert parts[0].read_bytes() == parts[1].read_bytes()
    frames = [anndata.read_h5ad(result.result_path).obs for result in (unbroken, resumed)]
    assert frames[0].equals(frames[1])


@pytest.mark.parametrize("stages", [BEFORE_REPORT, LAST], ids=["before the report", "last"])
def test_redoing_an_earlier_stage_redoes_a_new_one(cells, tmp_path, config, stages):
    out = tmp_path / "out"
    run_files([cells], out, config, stages=stages)
    before, six = times(out), config.model_copy(update={"n_clusters": 6})
    run_files([cells], out, six, stages=stages, start="cluster")
    after = times(out)
    assert {name for name in before if before[name] != after[name]} == {
        "cluster", "batches", "links", "markers", "associations", "names", "subclusters", "pseudotime", "sizes",
        "report",
    }  # fmt: skip
    run = opened(out, stages, six)
    assert run.labels.max() == 5
    assert np.array_equal(run.open(SIZES), np.bincount(run.labels)[run.labels])


def test_a_column_of_a_new_stage_does_not_outlive_the_run_that_wrote_it(cells, tmp_path, config):
    kept = config.model_copy(update={"keep_x": True})
    first = run_files([cells], tmp_path / "first", kept, stages=BEFORE_REPORT)
    second = run_files([first.result_path], tmp_path / "second", config, stages=LAST)
    obs = anndata.read_h5ad(second.result_path).obs
    assert "scrcl_size" not in obs
    assert "cell_type" in obs


def test_what_a_new_stage_lacks_is_named_by_stage(cells, tmp_path, config):
    run_files([cells], tmp_path / "out", config, until="graph")
    run = opened(tmp_path / "out", LAST, config)
    assert not run.has(SIZES)
    with pytest.raises(StoreError, match=r"the sizes; .*from sizes"):
        run.open(SIZES)
    with pytest.raises(StoreError, match="stage sizes"):
        run.record(SizeStage)


class DoubleStage(Stage[Record]):
    name = "double"
    record = Record
    gives = (COMPONENTS,)

    def estimate(self, shape, config):
        return Estimate(5 * 10**8, disk_bytes=4 * shape.n_cells * shape.n_comps)

    def run(self, context, folder):
        scores = context.open(COMPONENTS)
        np.save(folder / "scores.npy", 2 * np.asarray(scores))
        return Record(n_cells=len(scores))


CORRECTED = (*STAGES[:4], DoubleStage(), *STAGES[4:])


def test_every_reader_gets_the_components_of_a_stage_that_corrects_them(cells, tmp_path, config):
    assert [stage.name for stage in CORRECTED[3:6]] == ["reduce", "double", "correct"]
    run_files([cells], tmp_path / "plain", config)
    result = run_files([cells], tmp_path / "out", config, stages=CORRECTED)
    plain, run = (
        opened(tmp_path / "plain", STAGES, config),
        opened(tmp_path / "out", CORRECTED, config),
    )
    np.testing.assert_array_equal(run.components, 2 * plain.components)
    np.testing.assert_array_equal(run.open(NEIGHBOR_IDS), plain.open(NEIGHBOR_IDS))
    np.testing.assert_allclose(
        run.open(NEIGHBOR_DISTANCES), 2 * plain.open(NEIGHBOR_DISTANCES), rtol=1e-5
    )
    found = anndata.read_h5ad(result.result_path)
    np.testing.assert_array_equal(found.obsm["X_pca"], 2 * plain.components)
    # The method scales its inputs, so a factor changes nothing that is learned.
    np.testing.assert_allclose(run.embedding, plain.embedding, atol=1e-4)
    assert run.record(GraphStage).recall == 1
    entries = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert [entry["name"] for entry in entries] == [stage.name for stage in CORRECTED]


def test_a_stage_that_corrects_components_is_redone_from_those_of_the_earlier_stage(
    cells, tmp_path, config
):
    run_files([cells], tmp_path / "out", config, stages=CORRECTED, until="double")
    run = opened(tmp_path / "out", CORRECTED, config)
    once = np.array(run.components)
    (tmp_path / "out" / "stages" / "double" / "scores.npy").unlink()
    (tmp_path / "out" / "stages" / "double").rmdir()
    run_files([cells], tmp_path / "out", config, stages=CORRECTED, until="double")
    np.testing.assert_array_equal(run.components, once)


def test_new_cells_cannot_be_compared_with_components_that_only_the_run_corrects(
    cells, tmp_path, config
):
    out = run_files([cells], tmp_path / "out", config).out
    assert len(new_cell_stages(opened(out, LAST, config))) == len(
        new_cell_stages(opened(out, STAGES, config))
    )
    with pytest.raises(InputError, match="stage double"):
        new_cell_stages(opened(out, CORRECTED, config))
