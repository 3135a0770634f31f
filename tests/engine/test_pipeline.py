import errno
import json
import re
import subprocess
import sys
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from bench.scale.killed import kill_at_random, kill_everywhere
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.load_config import load_config
from scrcl.engine.run import STAGES, run_files, run_matrix
from scrcl.errors import BudgetError, InputError, ResumeError, StoreError
from scrcl.io.open import from_anndata
from tests.cells import FAST, FAST_SETTINGS, make_cells
from tests.reference_graph import adjacency
from tests.stores import write_zarr


def labels_of(out):
    return np.load(out / "stages" / "cluster" / "labels.npy")


def test_a_run_leaves_a_result_a_record_of_each_stage_and_a_page(cells, tmp_path, config):
    before = cells.read_bytes()
    result = run_files([cells], tmp_path / "out", config)

    assert cells.read_bytes() == before
    found = anndata.read_h5ad(result.result_path)
    assert found.X is None
    assert found.obs["scrcl"].cat.categories.tolist() == ["0", "1", "2", "3"]
    sizes = found.obs["scrcl"].value_counts(sort=False).tolist()
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1  # else any order would do
    assert "cell_type" in found.obs
    assert found.var["highly_variable"].sum() == min(2000, found.n_vars)
    assert found.obsm["X_pca"].shape == (240, 12)
    assert found.obsm["X_scrcl"].dtype == np.float32
    graph = found.obsp["scrcl_connectivities"]
    assert (graph != graph.T).nnz == 0
    assert set(graph.data) == {1}
    assert graph.diagonal().sum() == 0
    assert set(np.diff(found.obsp["scrcl_distances"].indptr)) == {8}
    assert found.uns["scrcl"]["config"]["seed"] == 0
    assert len(found.uns["scrcl"]["history"]["ndc"]) == 8

    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [stage["name"] for stage in manifest["stages"]] == [stage.name for stage in STAGES]
    for stage in manifest["stages"]:
        assert stage["seconds"] > 0
        assert stage["peak_rss_bytes"] > 50e6
    assert manifest["n_clusters"] == 4
    assert manifest["graph_recall"] == 1
    assert manifest["losses"]["ndc"] > 0
    assert "torch" in manifest["versions"]
    page = result.report_path.read_text()
    assert "<svg" in page
    # Namespaces of SVG are names, not links.
    assert not re.search(r"(src|href)=[\"']?https?:|url\(https?:|<script|<link", page)
    assert load_config(tmp_path / "out" / "config.toml") == config


def test_a_run_leaves_its_tree_extra_cuts_confidence_and_mixing_of_batches(tmp_path, config):
    from scipy.cluster.hierarchy import is_valid_linkage

    adata = make_cells()
    adata.obs["donor"] = ["a", "b"] * 120
    adata.write_h5ad(tmp_path / "cells.h5ad")
    cluster = config.cluster.model_copy(update={"also": (2, 7)})
    asked = config.model_copy(update={"cluster": cluster, "batch_key": "donor"})
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", asked)

    found = anndata.read_h5ad(result.result_path)
    assert found.obs["scrcl_confidence"].between(0, 1).all()
    assert found.obs["scrcl_confidence"].dtype == np.float32
    for key, n in (("scrcl_k2", 2), ("scrcl_k7", 7)):
        assert found.obs[key].cat.categories.tolist() == [str(i) for i in range(n)]
    assert len(found.obs[["scrcl", "scrcl_k2"]].drop_duplicates()) == 4
    assert len(found.obs[["scrcl", "scrcl_k7"]].drop_duplicates()) == 7
    tree = found.uns["scrcl"]["tree"]
    assert is_valid_linkage(tree["clusters"])
    assert tree["clusters"].shape == (3, 4)
    assert is_valid_linkage(tree["groups"])
    assert tree["cluster_sizes"].tolist() == found.obs["scrcl"].value_counts(sort=False).tolist()
    assert tree["group_sizes"].sum() == 240
    assert len(tree["group_clusters"]) == len(tree["groups"]) + 1

    followed = next(stage for stage in result.stages if stage["name"] == "batches")
    assert followed["batches"]["nmi"] < 0.1
    assert min(followed["batches"]["entropy"]) > 0.8
    assert result.clusters[0]["batch_entropy"] == followed["batches"]["entropy"][0]
    medians = found.obs.groupby("scrcl", observed=True)["scrcl_confidence"].median()
    assert [row["confidence"] for row in result.clusters] == pytest.approx(medians.tolist())
    page = result.report_path.read_text()
    for shown in (
        "How clusters join",
        "confidence",
        f"NMI {followed['batches']['nmi']:.3f}",
        "2, 7",
    ):
        assert shown in page


def test_a_run_that_stops_early_records_and_reports_when(cells, tmp_path):
    train = {**FAST["train"], "steps": 50, "lr": 1e-4, "stop_every": 2, "patience": 2}
    settings = {**FAST, "train": train, "n_clusters": 4, "device": "cpu"}
    result = run_files([cells], tmp_path / "out", load_config(overrides=settings))
    record = next(stage for stage in result.stages if stage["name"] == "train")
    assert record["stopped"]
    assert record["n_steps"] == record["kept_neighbors"][-1]["step"] < record["most_steps"] == 50
    history = json.loads((tmp_path / "out" / "stages" / "train" / "history.json").read_text())
    assert len(history) == record["n_steps"]
    page = result.report_path.read_text()
    kept = f"{record['kept_neighbors'][-1]['kept']:.0%} stayed the same"
    assert f"{record['n_steps']} of at most 50 steps: it ended early" in page
    assert kept in page
    assert re.search(r"<dt>method</dt>\s*<dd>scrcl", page)


def test_a_mutual_graph_with_isolated_cells_is_trained_on_and_described(cells, tmp_path):
    graph = {"n_neighbors": 2, "symmetry": "mutual"}
    train = {**FAST["train"], "minibatch_cells": 64}
    settings = {**FAST, "graph": graph, "train": train, "n_clusters": 4, "device": "cpu"}
    result = run_files([cells], tmp_path / "out", load_config(overrides=settings))
    ids = np.load(tmp_path / "out" / "stages" / "graph" / "ids.npy")
    found = anndata.read_h5ad(result.result_path).obsp["scrcl_connectivities"]
    assert np.array_equal(found.toarray() > 0, adjacency(ids, "mutual"))
    isolated = int((np.diff(found.indptr) == 0).sum())
    assert isolated > 0
    page = result.report_path.read_text()
    assert f"{isolated} cells have no neighbour" in page
    assert "graph.symmetry = union" in page


def test_it_finds_types_that_are_far_apart(cells, tmp_path):
    from scrcl.engine.evaluate import evaluate

    train = {**FAST["train"], "steps": 40}
    config = load_config(overrides={**FAST, "train": train, "n_clusters": 4, "device": "cpu"})
    run_files([cells], tmp_path / "out", config)
    assert evaluate(tmp_path / "out", "cell_type").ari > 0.9


def test_the_same_seed_gives_the_same_labels_and_embedding(cells, tmp_path, config):
    for name in ("a", "b"):
        run_files([cells], tmp_path / name, config)
    a, b = tmp_path / "a", tmp_path / "b"
    assert np.array_equal(labels_of(a), labels_of(b))
    for name in ("embedding.npy", "refined.npy"):
        assert (a / "stages/embed" / name).read_bytes() == (b / "stages/embed" / name).read_bytes()


def test_labels_change_nothing(tmp_path, config):
    adata = make_cells()
    for name in ("true", "shuffled"):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        run_files([tmp_path / f"{name}.h5ad"], tmp_path / name, config)
        adata.obs["cell_type"] = np.random.default_rng(0).permutation(adata.obs["cell_type"])
    assert np.array_equal(labels_of(tmp_path / "true"), labels_of(tmp_path / "shuffled"))


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_run_killed_in_each_stage_and_resumed_ends_in_the_same_result(cells, tmp_path, config):
    same = kill_everywhere(cells, tmp_path, config)
    assert len(same) == 5
    assert all(same.values())
    killed = tmp_path / "killed"
    assert not list(killed.rglob("*.partial"))
    assert (killed / "report.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_command_killed_at_random_moments_ends_in_the_same_result(cells, tmp_path, config):
    rows = kill_at_random(cells, tmp_path, config, n_moments=1, warm_up=False)
    assert len(rows) == 1
    assert all(all(row["same"].values()) for row in rows)


def test_a_disk_that_fills_at_a_checkpoint_is_named_and_the_run_resumes(
    cells, tmp_path, config, monkeypatch
):
    from scrcl._progress import Silent

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Fills(Silent):
        def metrics(self, step, values):
            if step == 4:
                monkeypatch.setattr("scrcl._atomic.os.fsync", full)

    run_files([cells], tmp_path / "unbroken", config)
    with pytest.raises(StoreError, match=r"disk of .*out"):
        run_files([cells], tmp_path / "out", config, reporter=Fills())
    monkeypatch.undo()
    kept = [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()]
    assert kept == ["step-00000002.ckpt"]
    run_files([cells], tmp_path / "out", config)
    parts = [tmp_path / out / "stages" / "train" / "model.pt" for out in ("unbroken", "out")]
    assert parts[0].read_bytes() == parts[1].read_bytes()


def test_a_request_to_stop_ends_the_run_before_the_next_stage(cells, tmp_path, config):
    from scrcl._interrupt import Interrupted, Interruption
    from scrcl._progress import Silent

    interruption = Interruption()

    class Asks(Silent):
        def stage_finished(self, name, seconds, *, resumed):
            if name == "features":
                interruption.ask()

    with pytest.raises(Interrupted):
        run_files([cells], tmp_path / "out", config, reporter=Asks(), interruption=interruption)
    stages = tmp_path / "out" / "stages"
    assert {path.name for path in stages.iterdir()} == {"read", "stats", "features"}


def test_an_interrupted_training_resumes_at_its_checkpoint(cells, tmp_path, config):
    from scrcl._progress import Silent

    class Interrupts(Silent):
        def metrics(self, step, values):
            assert "step" not in values
            if step == 6:
                raise KeyboardInterrupt

    notes = []

    class Listens(Silent):
        def note(self, message):
            notes.append(message)

    run_files([cells], tmp_path / "unbroken", config)
    with pytest.raises(KeyboardInterrupt):
        run_files([cells], tmp_path / "out", config, reporter=Interrupts())
    run_files([cells], tmp_path / "out", config, reporter=Listens())
    (note,) = notes
    assert "step 4 of 8" in note
    for name in ("train/model.pt", "cluster/labels.npy"):
        parts = [tmp_path / out / "stages" / name for out in ("unbroken", "out")]
        assert parts[0].read_bytes() == parts[1].read_bytes()


def test_memory_and_the_number_of_workers_change_no_bit(cells, tmp_path, config):
    for name, memory in (("little", 8 * 10**8), ("much", 9 * 10**9)):
        run_files([cells], tmp_path / name, config.model_copy(update={"memory": memory}))
    for name in ("features/gram.npy", "reduce/scores.npy", "embed/embedding.npy"):
        parts = [tmp_path / out / "stages" / name for out in ("little", "much")]
        assert parts[0].read_bytes() == parts[1].read_bytes()


def test_a_run_stays_within_its_memory(tmp_path):
    make_cells(n_cells=4_000, n_genes=2_000).write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "out"  # in a process of its own: this one holds what other tests left
    command = [sys.executable, "-m", "scrcl", "run", tmp_path / "cells.h5ad", "-o", out, "--quiet"]
    settings = [part for setting in FAST_SETTINGS for part in ("--set", setting)]
    subprocess.run([*command, "--memory", "1GB", *settings], check=True)
    stages = json.loads((out / "run.json").read_text())["stages"]
    assert max(stage["peak_rss_bytes"] for stage in stages) < 10**9


@pytest.mark.parametrize("restart", [False, True])
def test_an_input_inside_the_output_folder_is_refused_and_kept(cells, tmp_path, config, restart):
    kept = config.model_copy(update={"keep_x": True})
    result = run_files([cells], tmp_path / "out", kept)
    with pytest.raises(InputError, match=rf"OUT .*{tmp_path}"):
        run_files([result.result_path], tmp_path / "out", kept, restart=restart)
    assert result.result_path.exists()


def test_an_output_folder_inside_the_input_is_refused(tmp_path, config):
    path = write_zarr(make_cells(), tmp_path)
    with pytest.raises(InputError, match=rf"OUT .*{tmp_path}"):
        run_files([path], path / "out", config)
    assert not (path / "out").exists()


def test_a_result_that_was_deleted_is_written_again(cells, tmp_path, config):
    first = run_files([cells], tmp_path / "out", config)
    written = anndata.read_h5ad(first.result_path)
    first.result_path.unlink()
    again = anndata.read_h5ad(run_files([cells], tmp_path / "out", config).result_path)
    pd.testing.assert_frame_equal(again.obs, written.obs)
    np.testing.assert_array_equal(again.obsm["X_scrcl"], written.obsm["X_scrcl"])


def test_a_damaged_stage_file_is_named_with_the_way_out(cells, tmp_path, config):
    run_files([cells], tmp_path / "out", config)
    (tmp_path / "out" / "result.h5ad").unlink()
    (tmp_path / "out" / "stages" / "cluster" / "labels.npy").write_bytes(b"no array")
    with pytest.raises(StoreError, match=r"stages/cluster .*labels"):
        run_files([cells], tmp_path / "out", config)


def test_genes_with_names_that_mean_missing_keep_their_statistics(tmp_path, config):
    adata = make_cells()
    adata.var_names = ["nan", "NA", "", *adata.var_names[3:]]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    assert anndata.read_h5ad(result.result_path).var["means"].notna().all()


def test_other_coordinates_are_another_run(tmp_path, config):
    adata = make_cells(spatial=True)
    spatial = config.model_copy(update={"spatial": True})
    run_matrix(lambda _: from_anndata(adata), tmp_path / "out", spatial)
    adata.obsm["spatial"] = adata.obsm["spatial"][::-1].copy()
    with pytest.raises(ResumeError, match="coordinates"):
        run_matrix(lambda _: from_anndata(adata), tmp_path / "out", spatial)


def test_fewer_cells_than_neighbours_are_refused_before_anything_is_written(tmp_path, config):
    make_cells()[:8].copy().write_h5ad(tmp_path / "few.h5ad")
    settings = config.model_copy(update={"n_clusters": 2})
    with pytest.raises(InputError, match=r"for 8 neighbours; got 8\. .*graph\.n_neighbors"):
        run_files([tmp_path / "few.h5ad"], tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_coordinates_that_are_missing_or_not_finite_are_refused(tmp_path, config):
    adata = make_cells(spatial=True)
    adata.obsm["spatial"][7, 0] = np.nan
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=r"spatial.* cell7"):
        run_files(
            [tmp_path / "cells.h5ad"],
            tmp_path / "out",
            config.model_copy(update={"spatial": True}),
        )
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_not_run_again(cells, tmp_path, config):
    first = run_files([cells], tmp_path / "out", config)
    written = first.result_path.stat().st_mtime_ns
    again = run_files([cells], tmp_path / "out", config)
    assert again == replace(first, found_finished=True)
    assert first.result_path.stat().st_mtime_ns == written


def test_other_settings_or_another_input_are_another_run(cells, tmp_path, config):
    run_files([cells], tmp_path / "out", config)
    with pytest.raises(ResumeError, match=r"`seed` is 0 .* 1"):
        run_files([cells], tmp_path / "out", config.model_copy(update={"seed": 1}))
    make_cells(seed=5).write_h5ad(cells)
    with pytest.raises(ResumeError, match="input"):
        run_files([cells], tmp_path / "out", config)
    run_files([cells], tmp_path / "out", config, restart=True)


def test_cells_without_counts_are_left_out(tmp_path, config):
    adata = make_cells()
    keep = np.ones((240, 1), dtype=np.float32)
    keep[[3, 77]] = 0
    adata.X = adata.X.multiply(keep).tocsr()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    found = anndata.read_h5ad(result.result_path)
    assert found.n_obs == 238
    assert "cell3" not in found.obs_names
    stats = next(stage for stage in result.stages if stage["name"] == "stats")
    assert (stats["n_cells_retained"], stats["n_cells_empty"]) == (238, 2)
    assert "238 of 240" in result.report_path.read_text()
    assert any(note.startswith("2 cells") for note in stats["notes"])


def test_x_and_zarr_are_written_when_asked_for(cells, tmp_path, config):
    asked = config.model_copy(update={"keep_x": True, "format": "zarr"})
    result = run_files([cells], tmp_path / "out", asked)
    found = anndata.read_zarr(result.result_path)
    assert np.array_equal(found.X.toarray(), make_cells().X.toarray())


def test_a_spatial_run_takes_its_graph_from_the_coordinates(tmp_path, config):
    from scipy.spatial import cKDTree

    adata = make_cells(spatial=True)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    drawn = config.report.model_copy(update={"umap_cells": 3})
    graph = config.graph.model_copy(update={"spatial_neighbors": 8})
    spatial = config.model_copy(update={"spatial": True, "report": drawn, "graph": graph})
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", spatial)
    found = anndata.read_h5ad(result.result_path)
    distances, _ = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], k=9)
    stored = np.sort(found.obsp["scrcl_distances"].data.reshape(240, 8), axis=1)
    assert stored == pytest.approx(distances[:, 1:], rel=1e-5)
    assert "Cells in space" in result.report_path.read_text()


@pytest.mark.parametrize("features", ["pca", "hvg"])
@pytest.mark.parametrize("negatives", ["moments", "sampled", "batch"])
def test_every_mode_trains_in_small_batches(cells, tmp_path, config, features, negatives):
    train = {"minibatch_cells": 64}
    scrcl = {"features": features, "negatives": negatives, "n_negatives": 50}
    asked = load_config(
        overrides={
            **config.model_dump(),
            "train": {**config.train.model_dump(), **train},
            "scrcl": {**config.method_settings.model_dump(), **scrcl},
        }
    )
    result = run_files([cells], tmp_path / "out", asked)
    assert next(s for s in result.stages if s["name"] == "train")["n_batches"] == 4
    history = json.loads((tmp_path / "out" / "stages" / "train" / "history.json").read_text())
    assert np.mean([row["ndc"] for row in history[-2:]]) < history[0]["ndc"]


def test_the_number_of_clusters_is_chosen_without_labels(cells, tmp_path):
    train = {**FAST["train"], "steps": 40}
    asked = load_config(overrides={**FAST, "train": train, "n_clusters": "auto", "device": "cpu"})
    result = run_files([cells], tmp_path / "out", asked)
    assert 3 <= len(result.clusters) <= 6


def test_log_values_are_recognised_and_used(tmp_path, config):
    import scanpy as sc

    adata = make_cells()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    stats = next(s for s in result.stages if s["name"] == "stats")
    assert stats["already_log"]
    assert not stats["is_counts"]
    assert "log values" in result.report_path.read_text()
    assert any("taken as logarithms" in note for note in stats["notes"])


def bad(adata, **changes):
    for key, value in changes.items():
        setattr(adata, key, value)
    return adata


@pytest.mark.parametrize(
    ("make", "changes", "error", "message"),
    [
        (make_cells, {"n_clusters": 241}, InputError, r"n_clusters .*\(240\); got 241"),
        (
            make_cells,
            {"cluster": ClusterSettings(also=(3, 999))},
            InputError,
            r"cluster\.also .*\(240\); got 999",
        ),
        (make_cells, {"spatial": True}, InputError, "obsm"),
        (make_cells, {"layer": "none"}, InputError, "layer"),
        (make_cells, {"memory": 10**8}, BudgetError, "memory .*100 MB"),
        (
            lambda: bad(make_cells(), X=-make_cells().X),
            {},
            InputError,
            "got -",
        ),
        (lambda: bad(make_cells(), X=make_cells().X * np.nan), {}, InputError, "NaN|nan"),
        (lambda: bad(make_cells(), X=make_cells().X * 0), {}, InputError, "values are zero"),
        (lambda: make_cells(n_cells=5), {}, InputError, r"for 8 neighbours; got 5. .*n_neighbors"),
        (make_cells, {"device": "cuda:7"}, InputError, "cuda:7"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    tmp_path, config, make, changes, error, message
):
    make().write_h5ad(tmp_path / "cells.h5ad")
    asked = config.model_copy(update=changes)
    with pytest.raises(error, match=message):
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", asked)
    assert not (tmp_path / "out").exists()


def test_cells_that_are_all_equal_are_refused(tmp_path, config):
    equal = make_cells(60)
    equal.X = equal.X[np.zeros(60, np.int64)]
    equal.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=r"cells must differ.* 60 cells"):
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    assert not list((tmp_path / "out").glob("result*"))


def test_notes_on_graph_and_clusters_are_in_the_result(tmp_path, config):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    asked = config.model_copy(update={"cluster": ClusterSettings(algorithm="kmeans", also=(9,))})
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", asked)
    of_graph, of_cut = anndata.read_h5ad(result.result_path).uns["scrcl"]["notes"]
    assert "4 connected components" in of_graph
    assert "9 clusters of cluster.also" in of_cut


def test_a_missing_file_and_one_that_is_no_anndata_are_named(tmp_path, config):
    with pytest.raises(StoreError, match=r"none\.h5ad"):
        run_files([tmp_path / "none.h5ad"], tmp_path / "out", config)
    (tmp_path / "text.h5ad").write_text("hello")
    with pytest.raises(StoreError, match=r"text\.h5ad"):
        run_files([tmp_path / "text.h5ad"], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
