"""The benchmark of biological batches at toy size."""

import json

import pytest
from scipy.sparse import csr_matrix

from bench.batches import donors, million, need, spaces
from bench.batches.__main__ import main
from tests.cells import make_cells


@pytest.mark.slow
def test_measures_of_mixing_fall_with_the_shift_and_rise_with_balancing(
    tmp_path, quick, options, read
):
    page = tmp_path / "batches.md"
    sizes = options(cells=400, genes=300, types=4, seeds=0, shifts="0,1", out=page)
    main([*sizes, *quick])
    text, rows = read(page)
    of = {(row["shift"], row["balanced"]): row for row in rows}
    mixed, apart, balanced = of[0, False], of[1, False], of[1, True]
    for name in ("across_graph", "effective_graph", "across_embedding", "effective_embedding"):
        assert apart[name] < mixed[name]
        assert apart[name] < balanced[name]
    assert apart["nmi"] > mixed["nmi"]
    assert apart["entropy"] < mixed["entropy"]
    assert "| 1 | balanced | 0 |" in text


@pytest.mark.slow
def test_donors_that_keep_apart_are_corrected_and_random_batches_are_left(
    tmp_path, quick, options, read
):
    import numpy as np

    cells = make_cells(400)
    donor = np.arange(400) % 2
    shift = np.exp(np.random.default_rng(1).normal(size=cells.n_vars) * donor[:, None])
    cells.X = csr_matrix(np.rint(cells.X.toarray() * shift).astype(np.float32))
    cells.obs["donor"] = [f"donor {number}" for number in donor]
    (tmp_path / "data").mkdir()
    cells.write_h5ad(tmp_path / "data" / "shifted.h5ad")
    page = tmp_path / "donors.md"
    given = [*options(data=tmp_path / "data", out=page), *quick]
    donors.main(given)
    donors.main([*given, "--keep", "--ways", "PCA + Leiden,Harmony + Leiden"])
    text, rows = read(page)
    assert text.count("`python -m bench.batches.donors") == 2
    assert "| the 1 sets of all rows |" in text
    assert [(row["way"], row["corrected"]) for row in rows] == [
        ("genes only", False),
        ("correct", True),
        ("PCA + Leiden", False),
        ("Harmony + Leiden", True),
    ]
    plain, corrected, *peers = rows
    assert all(row["ari_at_k"] > 0.9 for row in peers)
    assert corrected["nmi_batches"] < plain["nmi_batches"]
    assert corrected["mixing_before"] < corrected["mixing_after"]
    donors.main([*options(data=tmp_path / "data", out=page), *quick, "--random"])
    text, rows = read(page)
    assert not any(row["corrected"] for row in rows)
    assert "left as is" in text


def test_spaces_are_compared_where_scib_metrics_is_installed_and_a_line_says_if_not(monkeypatch):
    monkeypatch.setattr(spaces, "find_spec", lambda _: None)
    assert spaces.space_scores([[0.0], [1.0]], ["a", "b"], ["x", "y"]) == {}
    row = {"dataset": "one", "way": "correct", "spaces": {"components": {}}}
    assert donors._spaces_table([row, {"dataset": "old", "way": "correct"}]) == [spaces.LACKING]
    scores = dict.fromkeys(spaces.SCORES, 0.5)
    others = [
        {"dataset": name, "way": "PCA + Leiden", "spaces": {"components": scores}}
        for name in ("one", "two")
    ]
    row["spaces"] = {"components": dict.fromkeys(spaces.SCORES, 0.25)}
    text = donors._spaces_table([row, *others])
    assert "| one | correct | components | 0.25 | 0.25 | 0.25 | 0.25 |" in text
    assert "| mean of 2 | PCA + Leiden | components | 0.500 | 0.500 | 0.500 | 0.500 |" in text


def test_the_stage_alone_is_measured_against_its_estimate(tmp_path):
    million._write_points(tmp_path, 600, 6, 3)
    million._measure(tmp_path, direct=False)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["mixing_before"] < found["mixing_after"]
    assert found["expected_bytes"] > 0 < found["expected_seconds"]
    assert found["n_fitted"] == 600


def test_random_batches_need_no_correction_and_moved_ones_do(tmp_path, data, read, quick, options):
    page = tmp_path / "need.md"
    need.main([*options(data=data, sets="plain", draws=1, out=page), *quick])
    text, rows = read(page)
    moved = {row["case"]: row["cells"] for row in rows if "moved" in row["case"]}
    assert sum(row["cells"] + row["tissue"] for row in rows if row["case"] not in moved) == 0
    assert moved["share 0.5 moved by 1"] == 1
    assert "| 2 large, 3 tiny | 1 | 1 | 0 | 0 | 0% | 0% |" in text
