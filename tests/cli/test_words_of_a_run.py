"""What the terminal and the report of a run on the command line say, and that Python says the same in its way."""

import json

import anndata
import numpy as np
import pytest

from scrcl.cli.render import Quiet
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from tests.cells import fast, make_cells


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Path of cells of three donors with log values in X, and of counts in a layer."""
    adata = make_cells()
    adata.obs["donor"] = [f"d{i % 3}" for i in range(adata.n_obs)]
    adata.layers["counts"] = adata.X.copy()
    adata.X.data = np.log1p(adata.X.data // 4 + 1).astype(np.float32)
    path = tmp_path_factory.mktemp("logs") / "logs.h5ad"
    adata.write_h5ad(path)
    return path


def test_options_on_the_terminal_and_in_its_report_are_settings_in_python(scrcl, logs, tmp_path):
    out = tmp_path / "out"
    code, shown, errors = scrcl(
        "run", logs, "-o", out, *fast("--n-clusters", 4, "--batch-key", "donor")
    )
    assert code == 0, errors
    corrected = "Not corrected for batches: "
    assert corrected in shown[: shown.index("\nresult ")]
    assert 'layers["counts"] has counts: give --layer counts to cluster those.' in shown
    page = (out / "report.html").read_text()
    summary = page[page.index('<p class="summary">') :]
    assert corrected in summary[: summary.index("</p>")]
    assert "give <code>--layer counts</code> to" in page
    assert "<code>--values counts</code>" in page
    notes = anndata.read_h5ad(out / "result.h5ad").uns["scrcl"]["notes"]
    assert "--layer" not in (out / "run.json").read_text() + " ".join(notes)
    run_files([logs], out, load_config(overrides={"report.n_markers": 3}), start="report")
    assert "give <code>layer=&#34;counts&#34;</code> to" in (out / "report.html").read_text()


def test_a_report_has_what_the_reporter_types():
    assert Quiet().typed("run with `n_clusters=3`") == "run with `--n-clusters 3`"


def test_the_last_stage_that_is_done_is_named(scrcl, cells, tmp_path):
    out = tmp_path / "out"
    _, shown, _ = scrcl("run", cells, "-o", out, *fast("--n-clusters", 3), "--until", "stats")
    assert f"The run in {out} is done up to the stage stats. " in " ".join(shown.split("\n"))


def test_another_input_is_named_before_other_settings(scrcl, cells, logs, tmp_path):
    out, given = tmp_path / "out", fast("--n-clusters", 3, "--until", "stats")
    scrcl("run", cells, "-o", out, *given, "--seed", 3)
    _, _, error = scrcl("run", logs, "-o", out, *given)
    assert "the content of its input changed" in error
    _, _, error = scrcl("run", cells, "-o", out, *given, "--batch-key", "cell_type", "--seed", 3)
    assert "--batch-key is not given there and 'cell_type' here" in error


def test_a_prediction_begins_with_sentences(scrcl, cells, tmp_path):
    scrcl("run", cells, "-o", tmp_path / "run", *fast("--n-clusters", 4, "--quiet"))
    code, _, errors = scrcl("predict", tmp_path / "run", cells, "-o", tmp_path / "to")
    assert code == 0, errors
    page = (tmp_path / "to" / "report.html").read_text()
    summary = page[page.index('<p class="summary">') :]
    summary = summary[: summary.index("</p>")]
    assert "240 new cells in all 4 clusters of the run. Most went to clusters " in summary
    assert "have a low confidence, below 0.2" in summary
    assert '<details class="technical"><summary>' in page
    assert "search in the run" not in summary


def test_a_layer_and_columns_like_batches_are_described(scrcl, logs, tmp_path):
    _, shown, _ = scrcl("describe", logs, "--json")
    found = json.loads(shown)
    assert found["layers"] == {"counts": "counts"}
    assert found["may_be_batches"] == ["donor (3)"]
    _, shown, _ = scrcl("describe", logs, "--layer", "counts")
    assert "X: logarithms of normalised counts" in shown
    adata = make_cells()
    adata.obsm["X_pca"], adata.obsm["X_umap"] = np.zeros((240, 9)), np.zeros((240, 2))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    _, shown, _ = scrcl("describe", tmp_path / "cells.h5ad")
    assert "X_pca, X_umap" in shown


def test_a_result_without_values_says_what_to_give(scrcl, tmp_path):
    adata = anndata.AnnData(obs=make_cells().obs, var=make_cells().var, uns={"scrcl": {"seed": 0}})
    adata.write_h5ad(tmp_path / "result.h5ad")
    code, _, error = scrcl("describe", tmp_path / "result.h5ad")
    assert code == 2
    assert "the result of a run without it. Give the input of that run" in error
