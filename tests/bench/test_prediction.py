"""The benchmarks of predictions and of confidence at toy size."""

import numpy as np
import pytest

from bench.prediction import confidence
from bench.prediction.__main__ import main
from tests.cells import make_cells


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    make_cells(spatial=True).write_h5ad(tmp_path / "data" / "tissue.h5ad")
    return tmp_path


@pytest.mark.slow
def test_predictions_are_compared_with_a_joint_run_and_a_type_that_is_held_out(
    folder, quick, options, read
):
    make_cells(n_cells=400, n_types=6).write_h5ad(folder / "data" / "plain.h5ad")
    page = folder / "predict.md"
    main([*options(data=folder / "data", out=page), *quick])
    text, (row,) = read(page)
    assert (row["n_cells"], row["n_new"], row["k"]) == (400, 80, 6)
    assert row["same_cells"] > 0.9
    assert row["predicted"] > 0.3
    assert 0 <= row["novel_auc"] <= 1
    assert "| plain | 80 of 400 | 6 |" in text
    assert "tissue" not in text


@pytest.mark.slow
def test_measures_of_confidence_are_compared_with_each_other(folder, quick, options, read):
    cells = make_cells(n_types=5)
    types = cells.obs["cell_type"].astype(str).to_numpy()
    types[:20] = np.random.default_rng(0).permutation(types[:20])
    cells.obs["cell_type"] = types
    cells.write_h5ad(folder / "data" / "plain.h5ad")
    page = folder / "confidence.md"
    confidence.main([*options(data=folder / "data", out=page, seeds=0), *quick])
    text, (row,) = read(page)
    assert (row["dataset"], row["n_cells"]) == ("plain", 240)
    assert len(row["auc"]) == 9
    assert all(0 <= value <= 1 for value in row["auc"].values())
    assert "| margin and share (written) |" in text


def test_a_cell_is_right_if_it_has_the_label_matched_to_its_cluster():
    found = confidence.matched(np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0]))
    assert found.tolist() == [True, True, False, True, True, False]
