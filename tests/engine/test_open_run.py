import json
import shutil

import anndata
import numpy as np
import pytest
import torch

from scrcl.engine.open_run import open_run
from scrcl.engine.predict import predict_files, run_for_prediction
from scrcl.engine.run import run_files
from scrcl.engine.stages.graph import GraphStage
from scrcl.errors import StoreError
from scrcl.graph.artifacts import NEIGHBOR_IDS
from tests.cells import make_cells


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Output folder of a finished run on 239 of 240 cells: one has no counts."""
    from scrcl.engine.load_config import load_config
    from tests.cells import FAST

    folder = tmp_path_factory.mktemp("finished")
    adata = make_cells()
    keep = np.ones((240, 1), np.float32)
    keep[7] = 0
    adata.X = adata.X.multiply(keep).tocsr()
    adata.write_h5ad(folder / "cells.h5ad")
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
    return run_files([folder / "cells.h5ad"], folder / "out", config).out


def state(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def refused(folder):
    """Return the message of the refusal, which has one line."""
    with pytest.raises(StoreError) as raised:
        open_run(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_everything_that_a_run_found_is_there_by_name_and_nothing_is_changed(out):
    before = state(out)
    run, result = open_run(out), anndata.read_h5ad(out / "result.h5ad")
    assert run.cells.tolist() == result.obs_names.tolist()
    assert run.genes.tolist() == result.var_names.tolist()
    assert run.n_cells == result.n_obs == 239
    assert run.labels.tolist() == result.obs["scrcl"].astype(int).tolist()
    np.testing.assert_array_equal(run.confidence, result.obs["scrcl_confidence"])
    np.testing.assert_array_equal(run.embedding, result.obsm["X_scrcl"])
    np.testing.assert_array_equal(run.components, result.obsm["X_pca"])
    assert len(run.graph.indices) == result.obsp["scrcl_connectivities"].nnz
    assert [row["ndc"] for row in run.history] == result.uns["scrcl"]["history"]["ndc"].tolist()
    assert run.record(GraphStage).recall == run.manifest["graph_recall"] == 1
    assert run.open(NEIGHBOR_IDS).shape == (239, 8)
    assert run.config.seed == run.manifest["settings"]["seed"]
    assert str(out) in repr(run)
    assert "239" in repr(run)
    found = run.to_anndata()
    assert found.obs.equals(result.obs)
    assert found.uns["scrcl"]["n_clusters"] == 4
    assert state(out) == before


def test_arrays_cannot_be_written_to(out):
    run = open_run(out)
    for array in (run.components, run.embedding, run.open(NEIGHBOR_IDS)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_model_embeds_the_cells_as_the_run_did(out):
    from scrcl.engine.stages.inputs import METHOD_INPUTS

    run = open_run(out)
    model = run.model
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    inputs = run.open(METHOD_INPUTS)
    x, cells = np.load(inputs / "x.npy"), np.load(inputs / "cells.npy")
    with torch.no_grad():
        embedded = model.model.encode_mlp(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(embedded, run.embedding[cells, :16], atol=1e-5)


def test_a_folder_without_a_run_is_refused(tmp_path):
    assert "run.json" in refused(tmp_path)
    assert str(tmp_path / "none") in refused(tmp_path / "none")


def test_a_prediction_is_refused_and_its_run_is_named(out, tmp_path):
    make_cells(60, seed=0).write_h5ad(tmp_path / "new.h5ad")
    predict_files(run_for_prediction(out, {}), [tmp_path / "new.h5ad"], tmp_path / "predicted")
    message = refused(tmp_path / "predicted")
    assert "prediction" in message
    assert str(out) in message


@pytest.mark.parametrize(("until", "lacking"), [("graph", "tissue"), ("cluster", "batches")])
def test_a_run_that_is_not_finished_is_refused_and_the_stage_is_named(
    cells, tmp_path, config, until, lacking
):
    run_files([cells], tmp_path / "out", config, until=until)
    assert f"stage {lacking}" in refused(tmp_path / "out")


@pytest.fixture
def copied(out, tmp_path):
    """A copy of the finished run, to be changed."""
    return shutil.copytree(out, tmp_path / "copied")


def test_a_run_of_another_format_is_refused_with_both_formats(copied):
    manifest = json.loads((copied / "run.json").read_text())
    assert manifest.pop("format") == 2
    (copied / "run.json").write_text(json.dumps(manifest))
    message = refused(copied)
    assert "format 2" in message
    assert "format 1" in message


@pytest.mark.parametrize(
    ("stage", "read", "named"),
    [
        ("cluster", lambda run: run.labels, "cluster labels"),
        ("reduce", lambda run: run.components, "component scores"),
        ("graph", lambda run: run.graph, "cell graph"),
        ("train", lambda run: run.history, "loss history"),
    ],
)
def test_a_stage_that_was_deleted_is_missed_when_it_is_read(copied, stage, read, named):
    shutil.rmtree(copied / "stages" / stage)
    run = open_run(copied)
    with pytest.raises(StoreError, match=named) as raised:
        read(run)
    assert stage in str(raised.value)
    assert "\n" not in str(raised.value)
    assert run.record(GraphStage).n_cells == 239
    assert run.to_anndata().n_obs == 239


def test_a_result_that_was_deleted_is_named(copied):
    (copied / "result.h5ad").unlink()
    run = open_run(copied)
    assert len(run.labels) == 239
    with pytest.raises(StoreError, match=r"result\.h5ad"):
        run.to_anndata()


def test_a_damaged_file_is_named_with_its_folder(copied):
    (copied / "stages" / "cluster" / "labels.npy").write_bytes(b"no array")
    with pytest.raises(StoreError, match=r"stages/cluster .*cluster labels"):
        _ = open_run(copied).labels
