"""Commands on data: plan, convert, simulate; and runs on their stores."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest

from scrcl.engine.stages import STAGES
from tests.cells import fast, make_cells


def test_a_plan_estimates_each_stage_and_reads_no_value(scrcl, cells, tmp_path):
    code, shown, _ = scrcl("plan", cells, "--json")
    assert code == 0
    planned = json.loads(shown)
    assert [stage["name"] for stage in planned["stages"]][:4] == [
        "read",
        "stats",
        "features",
        "reduce",
    ]
    assert [stage["name"] for stage in planned["stages"]] == [stage.name for stage in STAGES]
    assert planned["refusal"] is None
    assert planned["least_bytes"] < planned["memory_bytes"]
    _, shown, _ = scrcl("plan", cells, "--until", "reduce")
    assert "reduce" in shown
    assert "train" not in shown
    _, shown, _ = scrcl("plan", cells)
    assert "train" in shown
    assert "pseudotime" not in shown  # it was not asked for
    assert [p.name for p in tmp_path.iterdir()] == ["cells.h5ad"]


def test_a_plan_depends_on_the_options_of_a_run(scrcl, tmp_path):
    atlas = tmp_path / "atlas.zarr"
    assert scrcl("simulate", "-o", atlas, "--cells", 4000, "--genes", 200, "--quiet")[0] == 0

    def peak(*options, stage="cluster"):
        # Few cells vote, so that their communities do not outweigh the merges.
        few = ("--set", "cluster.vote_cells=500", *options)
        stages = json.loads(scrcl("plan", atlas, "--json", *few)[1])["stages"]
        return next(row["peak_bytes"] for row in stages if row["name"] == stage)

    assert peak("--n-clusters", 900) > peak("--n-clusters", 9)
    assert peak("--set", "cluster.also=[900]") > peak("--n-clusters", 900)
    assert scrcl("plan", atlas, "--knn", "annoy")[0] == 2
    code, _, errors = scrcl("plan", atlas, "--recall", 2)
    assert code == 2
    assert "--recall must be auto or a number above 0 and at most 1; got '2'." in errors


def test_a_plan_that_does_not_fit_is_shown_and_refused(scrcl, cells):
    code, shown, errors = scrcl("plan", cells, "--memory", "200MB")
    assert code == 2
    assert "features" in shown
    # Both name one number, and it is enough.
    enough = re.search(r"memory must be at least (\d+ MB)", errors).group(1)
    assert f"{enough} would do" in shown
    assert scrcl("plan", cells, "--memory", enough)[0] == 0


def test_a_run_fits_into_the_least_memory_of_its_plan(scrcl, cells, tmp_path):
    _, shown, _ = scrcl("plan", cells, "--json", *fast())
    least = json.loads(shown)["least_bytes"]
    arguments = fast("--quiet", "--n-clusters", 3, "--memory", f"{least}B")
    assert scrcl("run", cells, "-o", tmp_path / "out", *arguments)[0] == 0
    manifest = json.loads((tmp_path / "out/run.json").read_text())
    assert manifest["n_clusters"] == 3


def test_samples_become_one_store_that_a_run_reads(scrcl, cells, tmp_path):
    other = tmp_path / "other.h5ad"
    make_cells(seed=1)[:, :120].copy().write_h5ad(other)
    store = tmp_path / "atlas.zarr"
    code, shown, _ = scrcl("convert", cells, other, "-o", store, "--join", "outer")
    assert code == 0
    assert "2 samples of 120 to 150 genes on all genes: 150." in shown
    assert "stored values" in shown
    found = anndata.read_zarr(store)
    assert found.shape == (480, 150)
    assert found.X[240:, 120:].nnz == 0
    code, shown, errors = scrcl("convert", cells, "-o", store)
    assert code == 2
    assert "OUT must not exist" in errors
    arguments = ["--batch-key", "sample", "--until", "reduce"]
    code, shown, _ = scrcl("run", store, "-o", tmp_path / "out", *fast(*arguments))
    assert code == 0
    assert "done up to the stage reduce" in shown


def test_rows_are_stored_in_the_order_of_a_column(scrcl, cells, tmp_path):
    store = tmp_path / "atlas.zarr"
    assert scrcl("convert", cells, "-o", store, "--order", "cell_type", "--quiet")[0] == 0
    labels = anndata.read_zarr(store).obs["cell_type"]
    assert labels.is_monotonic_increasing


@pytest.mark.parametrize("spatial", [False, True])
def test_a_simulated_atlas_has_the_given_sizes(scrcl, tmp_path, spatial):
    store = tmp_path / "atlas.zarr"
    sizes = ["--cells", 700, "--genes", 400, "--types", 5, "--samples", 2]
    flags = ["--spatial"] if spatial else []
    code, shown, _ = scrcl("simulate", "-o", store, *sizes, "--seed", 3, *flags)
    assert code == 0
    assert "700" in shown
    found = anndata.read_zarr(store)
    assert found.shape == (700, 400)
    assert found.obs["cell_type"].nunique() == 5
    assert found.obs["sample"].nunique() == 2
    assert ("spatial" in found.obsm) == spatial
    assert found.X.dtype.kind == "u"
    again = tmp_path / "again.zarr"
    scrcl("simulate", "-o", again, *sizes, "--seed", 3, "--quiet", *flags)
    other = anndata.read_zarr(again)
    np.testing.assert_array_equal(found.X.toarray(), other.X.toarray())
    pd.testing.assert_frame_equal(found.obs, other.obs)


def test_types_of_real_cells_are_templates(scrcl, cells, tmp_path):
    store = tmp_path / "atlas.zarr"
    code, _, _ = scrcl("simulate", "-o", store, "--cells", 900, "--samples", 1, "--from", cells)
    assert code == 0
    found, real = anndata.read_zarr(store), anndata.read_h5ad(cells)
    assert set(found.obs["cell_type"]) == set(real.obs["cell_type"])
    assert found.var_names.tolist() == real.var_names.tolist()
    for kind in found.obs["cell_type"].cat.categories:
        ours = np.asarray(found[found.obs["cell_type"] == kind].X.mean(axis=0)).ravel()
        theirs = np.asarray(real[real.obs["cell_type"] == kind].X.mean(axis=0)).ravel()
        assert np.corrcoef(ours, theirs)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "-o", "{tmp}/x.zarr", "--cells", "0"], "cells"),
        (["simulate", "-o", "{tmp}/x.zarr", "--cells", "9", "--types", "40"], "types"),
        (["simulate", "-o", "{tmp}/x.zarr", "--from", "{cells}", "--labels", "no"], "cell_type"),
        (["simulate", "-o", "{tmp}/x.zarr", "--from", "{tmp}/none.h5ad"], "none.h5ad"),
        (["convert", "{tmp}/none.h5ad", "-o", "{tmp}/x.zarr"], "none.h5ad"),
        (["convert", "{cells}", "-o", "{cells}"], "OUT"),
        (["convert", "{cells}", "-o", "{tmp}/x.zarr", "--order", "nowhere"], "order"),
        (["convert", "{cells}", "-o", "{tmp}/x.zarr", "--join", "left"], "'left'"),
        (["run", "{cells}", "-o", "{tmp}/x", "--until", "lunch"], "until"),
        (["run", "{cells}", "-o", "{tmp}/x", "--join", "left"], "join"),
        (["run", "{cells}", "-o", "{tmp}/x", "--batch-key", "no"], "--batch-key must"),
        (["run", "{cells}", "-o", "{tmp}/x", "--set", "features.max_mito=20"], "max_mito"),
        (["run", "{cells}", "-o", "{tmp}/x", "--set", "features.flavor=best"], "flavor"),
        (["run", "{cells}", "-o", "{tmp}/x", "--scheduler", "tcp://127.0.0.1:9"], "scheduler"),
    ],
)
def test_bad_input_leaves_nothing(scrcl, cells, tmp_path, arguments, message):
    filled = [text.format(cells=cells, tmp=tmp_path) for text in arguments]
    code, _, shown = scrcl(*filled)
    assert code == 2
    assert message in shown
    assert shown.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad"]
