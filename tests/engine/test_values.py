"""Counts or logarithms: what a run and a prediction take the values for, and say about it."""

import logging
from dataclasses import replace

import anndata
import numpy as np
import pytest

from scrcl.engine.load_config import load_config
from scrcl.engine.predict import predict_files, run_for_prediction
from scrcl.engine.run import run_files
from scrcl.engine.values import kinds_of_others, look_at, values_note
from scrcl.errors import InputError
from scrcl.io.formats.in_memory import from_anndata
from tests.cells import FAST, make_cells


def written(path, change):
    adata = make_cells()
    adata.X.data = change(adata.X.data // 4 + 1).astype(np.float32)
    adata.write_h5ad(path)
    return path


def half(counts):
    return np.minimum(counts, 18) * 0.5 + 0.1


def half_but_for_one(counts):
    return np.where(np.arange(len(counts)) == 0, 30.5, half(counts))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
    path = written(folder / "logs.h5ad", np.log1p)
    return run_files([path], folder / "out", config)


def test_values_taken_for_logarithms_are_noted_in_the_result(run):
    notes = anndata.read_h5ad(run.result_path).uns["scrcl"]["notes"]
    assert any("taken as logarithms" in note for note in notes)
    assert "taken as logarithms" in run.report_path.read_text()


@pytest.mark.parametrize(
    ("values", "warned", "already_log"),
    [("auto", True, False), ("counts", False, False), ("log", False, True)],
)
def test_the_kind_of_fractions_can_be_given(tmp_path, config, caplog, values, warned, already_log):
    path = written(tmp_path / "cells.h5ad", half)
    config = config.model_copy(
        update={"features": config.features.model_copy(update={"values": values})}
    )
    with caplog.at_level(logging.WARNING, "scrcl"):
        result = run_files([path], tmp_path / "out", config, until="stats")
    assert result.stages[-1]["already_log"] == already_log
    assert ("not whole numbers" in caplog.text) == warned
    assert bool(result.stages[-1]["notes"]) == warned


def test_fractions_too_large_for_logarithms_are_not_said_to_be_any(tmp_path, config, caplog):
    path = written(tmp_path / "cells.h5ad", half_but_for_one)
    with caplog.at_level(logging.WARNING, "scrcl"):
        result = run_files([path], tmp_path / "out", config, until="stats")
    (note,) = result.stages[-1]["notes"]
    assert note == "The values are taken as counts that are not whole numbers."
    assert note in caplog.text
    found = look_at(from_anndata(anndata.read_h5ad(path)))
    assert found == ("counts that are not whole numbers", 30.5)


def test_a_prediction_says_what_its_values_are(run, tmp_path):
    counts = written(tmp_path / "counts.h5ad", np.rint)
    with pytest.raises(InputError, match=r"must be log values.*got counts.*`features.values`"):
        predict_files(run_for_prediction(run.out, {}), [counts], tmp_path / "a")
    given = {"features.values": "log"}
    done = predict_files(run_for_prediction(run.out, given), [counts], tmp_path / "b")
    assert next(each for each in done.stages if each["name"] == "stats")["already_log"]
    grouped = run_for_prediction(run.out, {"features": {"values": "log"}})
    assert grouped.config.features.values == "log"
    assert grouped.config.features.n_top_genes == 2000


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [
        ([], "If they are counts"),
        (["raw"], 'raw has counts: give `layer="raw"` to cluster those. If'),
        (["X"], "X has counts: leave out `layer` to cluster those. If"),
        (
            ["spliced", "counts"],
            'layers["spliced"] and layers["counts"] have counts: give one to cluster those, as `layer="counts"`. If',
        ),
    ],
)
def test_counts_elsewhere_are_named_where_values_are_logarithms(run, elsewhere, said):
    from scrcl.engine.open_run import open_run
    from scrcl.prep.artifacts import STATS

    (note,) = values_note(open_run(run.out).open(STATS), "auto", elsewhere)
    assert f"normalised counts. {said}" in note


def test_another_base_of_logarithms_is_said(run):
    from scrcl.engine.open_run import open_run
    from scrcl.prep.artifacts import STATS

    stats = open_run(run.out).open(STATS)
    assert "base" not in values_note(stats, "auto")[0]
    (note,) = values_note(replace(stats, to_natural=float(np.log(2))), "auto")
    assert "Their base is 2, but" in note
    assert "multiply the values by 0.6931" in note


def test_a_matrix_without_a_count_above_1_is_said(run):
    from scrcl.engine.open_run import open_run
    from scrcl.prep.artifacts import STATS

    stats = open_run(run.out).open(STATS)
    counts = replace(stats, is_counts=True, already_log=False)
    assert values_note(replace(counts, max_value=2.0), "auto") == ()
    assert values_note(replace(counts, max_value=1.0), "counts") == ()
    (note,) = values_note(replace(counts, max_value=1.0), "auto")
    assert "No count is above 1" in note


def test_an_anndata_with_counts_in_a_layer_names_it():
    adata = make_cells()
    adata.layers["counts"] = adata.X.copy()
    adata.X.data = np.log1p(adata.X.data // 4 + 1).astype(np.float32)
    assert kinds_of_others(from_anndata(adata), None) == {"counts": "counts"}
    others = kinds_of_others(from_anndata(adata, layer="counts"), "counts")
    assert others == {"X": "logarithms of normalised counts"}
