import base64
import gzip
import json
import re
import shutil
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest

import scrcl
from scrcl.cluster.assign import assign, mean_cosines
from scrcl.cluster.confidence import LOW_PREDICTION_CONFIDENCE
from scrcl.engine.budget import least_memory
from scrcl.engine.load_config import load_config
from scrcl.engine.predict import new_cell_stages, predict_files, run_for_prediction
from scrcl.engine.run import run_files
from scrcl.engine.shape import shape_of
from scrcl.engine.stages.cluster_new_cells import _notes_of
from scrcl.engine.words import Words
from scrcl.errors import BudgetError, InputError, ResumeError, StoreError
from scrcl.io.open import open_input
from tests.cells import FAST, make_cells
from tests.stores import write_zarr

QUICK = {**FAST, "n_clusters": 4, "device": "cpu"}


def all_cells():
    return make_cells(n_cells=330)


def atlas_cells():
    return all_cells()[:240].copy()


def new_cells():
    return all_cells()[240:].copy()


def run_atlas(folder, adata=None, **settings):
    """Run on a file of the cells; settings are laid over those of a quick run."""
    (atlas_cells() if adata is None else adata).write_h5ad(folder / "atlas.h5ad")
    merged = {
        key: {**QUICK.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in {**QUICK, **settings}.items()
    }
    return run_files([folder / "atlas.h5ad"], folder / "run", load_config(overrides=merged)).out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Output folder of a finished run on 240 cells of 4 types, whose input is gone."""
    folder = tmp_path_factory.mktemp("atlas")
    out = run_atlas(folder)
    (folder / "atlas.h5ad").unlink()
    return out


def predict(run, inputs, out, *, restart=False, **given):
    return predict_files(run_for_prediction(run, given), inputs, out, restart=restart)


def predicted(run, adata, tmp_path, **how):
    path = tmp_path / "new.h5ad"
    adata.write_h5ad(path)
    result = predict(run, [path], tmp_path / "predicted", **how)
    assert result.result_path is not None
    return anndata.read_h5ad(result.result_path)


def result_of(run):
    return anndata.read_h5ad(run / "result.h5ad")


def cosines(a, b):
    """Of rows of E, whose two halves have unit length."""
    return np.einsum("ij,ij->i", a.obsm["X_scrcl"], b.obsm["X_scrcl"]) / 2


def assert_equal(a, b):
    assert a.obs["scrcl"].tolist() == b.obs["scrcl"].tolist()
    for key in ("X_pca", "X_scrcl"):
        np.testing.assert_array_equal(a.obsm[key], b.obsm[key])
    np.testing.assert_array_equal(a.obs["scrcl_confidence"], b.obs["scrcl_confidence"])


def test_new_cells_get_what_the_run_gave_and_the_run_is_not_touched(run, tmp_path):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.rglob("*")}
    found = predicted(run, new_cells(), tmp_path)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.rglob("*")} == before

    there = result_of(run)
    assert found.obs_names.tolist() == new_cells().obs_names.tolist()
    assert found.obs["cell_type"].tolist() == new_cells().obs["cell_type"].tolist()
    assert found.obs["scrcl"].cat.categories.tolist() == ["0", "1", "2", "3"]
    assert set(found.obsm) == set(there.obsm)
    for key in found.obsm:
        assert found.obsm[key].shape[1] == there.obsm[key].shape[1]
        assert found.obsm[key].dtype == np.float32
    for key in ("scrcl_confidence", "scrcl_margin", "scrcl_familiarity"):
        assert found.obs[key].between(0, 1).all()
    assert len(found.uns["scrcl_colors"]) == 4
    assert found.uns["scrcl"]["n_genes_missing"] == 0
    assert found.X is None

    manifest = json.loads((tmp_path / "predicted" / "run.json").read_text())
    assert manifest["predicted_from"] == str(run.resolve())
    assert 0 < manifest["confidence"]["p50"] < 1
    page = (tmp_path / "predicted" / "report.html").read_text()
    assert "Confidence" in page
    assert "0 of 150" in page


def test_new_cells_fall_into_the_clusters_of_their_types(run, tmp_path):
    found = predicted(run, new_cells(), tmp_path)
    there = result_of(run).obs
    usual = there.groupby("cell_type", observed=True)["scrcl"].agg(
        lambda c: c.value_counts().index[0]
    )
    right = found.obs["scrcl"].astype(str) == usual.reindex(found.obs["cell_type"]).to_numpy()
    assert right.mean() > 0.85


def test_cells_of_the_run_are_predicted_as_it_has_them(run, tmp_path):
    found, there = predicted(run, atlas_cells(), tmp_path), result_of(run)
    assert np.mean(found.obs["scrcl"].astype(str) == there.obs["scrcl"].astype(str)) > 0.97
    np.testing.assert_array_equal(found.obsm["X_pca"], there.obsm["X_pca"])
    assert cosines(found, there).mean() > 0.99


@pytest.mark.parametrize(
    "settings",
    [
        {"scrcl": {"features": "hvg"}},
        {"scrcl": {"row_normalize": True, "smoothing_mlp": 1}, "cluster": {"on": "refined"}},
        {"scrcl": {"smoothing_gcn": 2}, "graph": {"backend": "partitioned"}},
        {"graph": {"symmetry": "mutual"}, "cluster": {"algorithm": "kmeans"}},
        {"cluster": {"algorithm": "leiden"}},
    ],
    ids=str,
)
def test_runs_of_all_settings_can_be_predicted_from(settings, tmp_path):
    run = run_atlas(tmp_path, **settings)
    found, there = predicted(run, atlas_cells(), tmp_path), result_of(run)
    assert np.mean(found.obs["scrcl"].astype(str) == there.obs["scrcl"].astype(str)) > 0.9
    lengths = np.linalg.norm(found.obsm["X_scrcl"], axis=1) * np.linalg.norm(
        there.obsm["X_scrcl"], axis=1
    )
    alike = np.einsum("ij,ij->i", found.obsm["X_scrcl"], there.obsm["X_scrcl"]) / lengths
    assert np.median(alike) > 0.98


def test_genes_are_found_by_name_and_others_are_ignored(run, tmp_path):
    plain = predicted(run, new_cells(), tmp_path)
    noise = make_cells(n_cells=90, n_genes=40, seed=5)
    noise.var_names = [f"other{i}" for i in range(40)]
    noise.obs_names = new_cells().obs_names
    more = anndata.concat([new_cells(), noise], axis=1, merge="first")
    mixed = more[:, np.random.default_rng(0).permutation(more.n_vars)].copy()
    assert_equal(predicted(run, mixed, tmp_path, restart=True), plain)


def test_missing_genes_are_recorded_and_the_gap_is_filled(run, tmp_path):
    plain = predicted(run, new_cells(), tmp_path)
    few = predicted(run, new_cells()[:, 30:].copy(), tmp_path, restart=True)
    assert np.mean(few.obs["scrcl"].astype(str) == plain.obs["scrcl"].astype(str)) > 0.9
    stats = json.loads((tmp_path / "predicted" / "run.json").read_text())["stages"][1]
    assert (stats["n_genes_missing"], stats["share_missing"]) == (30, 0.2)
    assert stats["genes_missing"][:2] == ["gene0", "gene1"]
    assert "30 of 150" in (tmp_path / "predicted" / "report.html").read_text()


def test_too_few_genes_are_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"150 .*got 60"):
        predicted(run, new_cells()[:, :60].copy(), tmp_path)
    assert not (tmp_path / "predicted").exists()


def test_the_prediction_for_a_cell_does_not_depend_on_the_others(run, tmp_path):
    whole = predicted(run, new_cells(), tmp_path)
    part = predicted(run, new_cells()[50:57].copy(), tmp_path, restart=True)
    assert part.obs["scrcl"].tolist() == whole.obs["scrcl"].tolist()[50:57]
    np.testing.assert_allclose(part.obsm["X_scrcl"], whole.obsm["X_scrcl"][50:57], atol=1e-5)
    np.testing.assert_allclose(
        part.obs["scrcl_confidence"], whole.obs["scrcl_confidence"][50:57], atol=1e-4
    )


def test_a_type_that_the_run_lacks_has_lower_confidence(tmp_path):
    cells = make_cells(n_cells=400, n_types=5)
    is_novel = (cells.obs["cell_type"] == "type 2").to_numpy()
    is_new = is_novel | (np.arange(400) >= 300)
    run = run_atlas(tmp_path, cells[~is_new].copy())
    found = predicted(run, cells[is_new].copy(), tmp_path).obs["scrcl_confidence"].to_numpy()
    novel, known = found[is_novel[is_new]], found[~is_novel[is_new]]
    assert np.mean(novel[:, None] < known) > 0.95
    alone = predicted(run, cells[is_novel].copy(), tmp_path, restart=True)
    medians = alone.obs.groupby("scrcl", observed=True)["scrcl_confidence"].median()
    low = ", ".join(medians.index[medians < LOW_PREDICTION_CONFIDENCE])
    (note,) = (note for note in alone.uns["scrcl"]["notes"] if note.startswith("Most new cells"))
    assert f" {low} have low confidence (below 0.2)" in note


def test_stores_of_other_kinds_are_read_and_written(run, tmp_path):
    plain = predicted(run, new_cells(), tmp_path)
    store = tmp_path / "new.zarr"
    write_zarr(new_cells(), store)
    result = predict(run, [store], tmp_path / "zarr", format="zarr", keep_x=True)
    found = anndata.read_zarr(result.result_path)
    assert_equal(found, plain)
    assert (found.X != new_cells().X).nnz == 0


def test_cells_without_counts_in_the_genes_of_the_run_are_left_out(run, tmp_path):
    cells = new_cells()
    keep = np.ones((90, 1), dtype=np.float32)
    keep[7] = 0
    cells.X = cells.X.multiply(keep).tocsr()
    found = predicted(run, cells, tmp_path)
    assert found.n_obs == 89
    assert cells.obs_names[7] not in found.obs_names
    returned = scrcl.predict(run, cells, device="cpu")
    assert returned is cells
    assert cells.obs["scrcl"].isna().to_numpy().nonzero()[0].tolist() == [7]
    assert np.isnan(cells.obs["scrcl_confidence"].iloc[7])
    assert np.isnan(cells.obsm["X_scrcl"][7]).all()
    assert cells.obs["scrcl"].dropna().tolist() == found.obs["scrcl"].tolist()
    cells.X = cells.X * 0
    with pytest.raises(InputError, match=r"counts .*got none"):
        scrcl.predict(run, cells)


def test_values_of_another_kind_are_refused(run, tmp_path):
    logs = new_cells()
    logs.X.data = np.log1p(logs.X.data)
    with pytest.raises(InputError, match=r"counts, .*got log values"):
        predicted(run, logs, tmp_path)
    assert not (tmp_path / "predicted").exists()


def test_the_layer_is_that_of_the_run_where_no_other_is_named(tmp_path):
    adata = atlas_cells()
    adata.layers["counts"] = adata.X.copy()
    adata.X.data = np.log1p(adata.X.data)
    run = run_atlas(tmp_path, adata, layer="counts")
    with pytest.raises(InputError, match="counts"):
        predicted(run, new_cells(), tmp_path)
    with pytest.raises(InputError, match=r"'counts', which the run read\. Layers: none\. Give"):
        scrcl.predict(tmp_path / "run", new_cells())
    plain = predicted(run, new_cells(), tmp_path, layer="X")
    layered = new_cells()
    layered.layers["counts"] = layered.X.copy()
    layered.X = layered.X * 0
    assert_equal(predicted(run, layered, tmp_path, restart=True), plain)


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    atlas_cells().write_h5ad(tmp_path / "atlas.h5ad")
    config = load_config(overrides=QUICK)
    out = run_files([tmp_path / "atlas.h5ad"], tmp_path / "run", config, until="train").out
    with pytest.raises(StoreError, match="stage embed"):
        predicted(out, new_cells(), tmp_path)
    with pytest.raises(StoreError, match=r"no run\.json"):
        predicted(tmp_path, new_cells(), tmp_path)


def test_a_prediction_is_no_run(run, tmp_path):
    predicted(run, new_cells(), tmp_path)
    with pytest.raises(StoreError, match=rf"prediction.*{run}"):
        predict(tmp_path / "predicted", [tmp_path / "new.h5ad"], tmp_path / "again")


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("cluster/micro_means.npy", "stages/cluster .*means of the micro-clusters"),
        ("train/model.pt", r"stages/train .*model\.pt"),
        ("inputs", "method inputs"),
        ("genes", "gene graph"),
    ],
)
def test_a_missing_part_of_the_run_is_named_first_and_can_be_made_again(tmp_path, lost, named):
    run = run_atlas(tmp_path)
    plain = predicted(run, new_cells(), tmp_path)
    path = run / "stages" / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    before = (tmp_path / "predicted" / "run.json").read_bytes()
    with pytest.raises(StoreError, match=named):
        predicted(run, new_cells(), tmp_path, restart=True)
    assert (tmp_path / "predicted" / "run.json").read_bytes() == before
    shutil.rmtree(run / "stages" / lost.split("/")[0], ignore_errors=True)
    run_files([tmp_path / "atlas.h5ad"], run, load_config(overrides=QUICK))
    assert_equal(predicted(run, new_cells(), tmp_path, restart=True), plain)


def test_a_folder_in_the_way_is_refused(run, tmp_path):
    new_cells().write_h5ad(tmp_path / "new.h5ad")
    for to in (run, run / "inside", run.parent):
        with pytest.raises((InputError, ResumeError), match=rf"(apart|new).*{to}"):
            predict(run, [tmp_path / "new.h5ad"], to)
    with pytest.raises(InputError, match=rf"apart.*{tmp_path}"):
        predict(run, [tmp_path / "new.h5ad"], tmp_path)


def test_the_same_prediction_is_found_finished_and_another_one_is_refused(run, tmp_path):
    first = predicted(run, new_cells(), tmp_path)
    before = (tmp_path / "predicted" / "result.h5ad").stat().st_mtime_ns
    (tmp_path / "predicted" / "stages" / "cluster" / "labels.npy").touch()
    again = predict(run, [tmp_path / "new.h5ad"], tmp_path / "predicted")
    assert again.result_path.stat().st_mtime_ns == before
    new_cells()[:40].copy().write_h5ad(tmp_path / "fewer.h5ad")
    with pytest.raises(ResumeError, match="input"):
        predict(run, [tmp_path / "fewer.h5ad"], tmp_path / "predicted")
    predict(run, [tmp_path / "fewer.h5ad"], tmp_path / "predicted", restart=True)
    fewer = anndata.read_h5ad(tmp_path / "predicted" / "result.h5ad")
    assert fewer.obs["scrcl"].tolist() == first.obs["scrcl"].tolist()[:40]


def test_too_little_memory_is_refused_before_anything_is_read(run, tmp_path):
    with pytest.raises(BudgetError, match=r"memory .*90 cells.*300 MB"):
        predicted(run, new_cells(), tmp_path, memory="300MB")
    assert not (tmp_path / "predicted").exists()


@pytest.mark.slow
def test_memory_stays_under_what_was_given(run, tmp_path):
    new_cells().write_h5ad(tmp_path / "new.h5ad")
    opened = run_for_prediction(run, {})
    shape = shape_of(open_input([tmp_path / "new.h5ad"]), opened.config)
    least = least_memory(new_cell_stages(opened), shape, opened.config) + 10**6
    command = ["predict", run, tmp_path / "new.h5ad", "-o", tmp_path / "predicted"]
    command = [sys.executable, "-m", "scrcl", *map(str, command), "--memory", f"{least}B"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    stages = json.loads((tmp_path / "predicted" / "run.json").read_text())["stages"]
    assert max(stage["peak_rss_bytes"] for stage in stages) < least


def test_settings_that_a_prediction_cannot_have_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="got 'seed'"):
        predicted(run, new_cells(), tmp_path, seed=3)
    with pytest.raises(InputError, match=r"format .*csv"):
        predicted(run, new_cells(), tmp_path, format="csv")


def test_a_cell_is_assigned_by_the_nearest_mean_and_its_margin_is_between_cluster_means():
    micro_means = np.array([[0, 0], [1, 0], [10, 0]], np.float32)
    means = np.array([[10, 0], [0.5, 0]], np.float32)
    points = np.array([[0, 0], [2, 0], [5.4, 0]], np.float32)
    found = assign(points, micro_means, np.array([1, 1, 0]), means)
    assert found.labels.tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.margin, [1 - 0.5 / 10, 1 - 1.5 / 8, 0], atol=1e-6)


def test_mean_cosines_are_those_with_the_neighbours():
    rng = np.random.default_rng(0)
    scores, points = rng.normal(size=(5, 3)), rng.normal(size=(9, 3))
    scores[1] = 0
    ids = rng.integers(0, 9, (5, 4))
    alike = mean_cosines(scores, points, ids)
    for i in (0, 2, 3, 4):
        near = points[ids[i]]
        each = near @ scores[i] / np.linalg.norm(near, axis=1) / np.linalg.norm(scores[i])
        assert alike[i] == pytest.approx(each.mean(), abs=1e-6)
    assert alike[1] == 0


def test_new_cells_lie_among_their_type_on_the_map_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("scrcl.engine.map_points.LEAST_OF_CLUSTER", 1)
    out = run_atlas(tmp_path, umap={"cells": 240}, report={"umap_cells": 40, "map_genes": 3})
    adata = new_cells()
    first = pd.read_csv(out / "markers.csv")["gene"][0]
    adata = adata[:, adata.var_names != first].copy()
    found, there = predicted(out, adata, tmp_path), result_of(out)
    assert found.obsm["X_umap"].shape == (90, 2)
    apart = np.linalg.norm(found.obsm["X_umap"][:, None] - there.obsm["X_umap"], axis=2)
    nearest = there.obs["cell_type"].to_numpy()[apart.argmin(axis=1)]
    assert (nearest == found.obs["cell_type"]).mean() > 0.8  # 0.25 by chance

    page = (tmp_path / "predicted" / "report.html").read_text()
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    n = int(re.search(r"The map shows (\d+) of 90 new cells", page)[1])
    assert 40 <= n == shown["n"] < 44
    assert "Grey: 40 of the 240 cells of the run, drawn at random." in page
    positions = gzip.decompress(base64.b64decode(shown["umap"]["x"]))
    assert len(positions) == 2 * (n + 40)
    columns = {column["name"]: column["group"] for column in shown["columns"]}
    assert {"cluster", "confidence", "familiarity", "cell_type"} <= columns.keys()
    assert list(columns.values()).count("Genes") == 2  # new cells lack one of three


def test_clusters_that_are_doubtful_in_the_run_are_no_sign_of_other_kinds():
    unlike, alike = _notes_of([1, 3, 4], [3, 4, 5], Words())
    assert "in cluster 1 have low confidence" in unlike
    assert "of a kind that the run does not have" in unlike
    assert "in clusters 3, 4 have low confidence" in alike
    assert "as most cells of the run there" in alike
