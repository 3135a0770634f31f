"""The benchmark of biological batches at toy size."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bench.batches import donor_tables, donors, million, need, spaces, technologies
from bench.batches.__main__ import main
from bench.batches.donor_cases import cases_of
from tests.cells import make_cells


@pytest.mark.slow
def test_measures_of_mixing_fall_with_the_shift_and_rise_with_the_correction(
    tmp_path, quick, options, read
):
    page = tmp_path / "batches.md"
    sizes = options(cells=400, genes=300, types=4, seeds=0, shifts="0,0.3", out=page)
    main([*sizes, *quick])
    text, rows = read(page)
    of = {(row["shift"], row["corrected"]): row for row in rows}
    mixed, apart, corrected = of[0, False], of[0.3, False], of[0.3, True]
    for name in ("across_graph", "effective_graph", "across_embedding", "effective_embedding"):
        assert apart[name] < mixed[name]
        assert apart[name] < corrected[name]
    assert apart["nmi"] > mixed["nmi"]
    assert apart["entropy"] < mixed["entropy"]
    assert "| 0.3 | corrected | 0 |" in text


def test_ways_are_compared_on_cases_with_an_effect_and_without(tmp_path, quick, options, read):
    cells = make_cells(240, 100)
    donor = np.arange(240) % 2
    shift = np.exp(np.random.default_rng(1).normal(size=cells.n_vars) * donor[:, None])
    cells.X = csr_matrix(np.rint(cells.X.toarray() * shift).astype(np.float32))
    cells.obs["donor"] = [f"donor {number}" for number in donor]
    folder, page = tmp_path / "data", tmp_path / "donors.md"
    folder.mkdir()
    cells.write_h5ad(folder / "shifted.h5ad")
    given = [*options(data=folder, out=page), "--together", *quick]
    donors.main([*given, "--ways", "no batch key,genes only,correct"])
    donors.main([*given, "--keep", "--families", "sets", "--ways", "balanced + Leiden"])
    text, rows = read(page)
    assert text.count("`python -m bench.batches.donors") == 2
    of = {(row["family"], row["way"]): row for row in rows}
    assert set(of) == {
        *product(("sets", "random"), ("genes only", "correct")),
        ("random", "no batch key"),
        ("sets", "balanced + Leiden"),
    }
    plain, corrected = of["sets", "genes only"], of["sets", "correct"]
    assert corrected["nmi_batches"] < plain["nmi_batches"]
    assert corrected["mixing_before"] < corrected["mixing_after"]
    assert of["sets", "balanced + Leiden"]["ari_at_k"] > 0.9
    assert not of["random", "correct"]["corrected"]
    assert all(row["cpu_found"] > 0 < row["peak_rss_bytes"] for row in rows)
    assert (
        "| random (1) | correct : no batch key | +0.000 | 0 of 1 |  | +0.000 | 0 of 1 |  |" in text
    )
    assert "\\* |" in text


def test_halves_and_simulated_donors_differ_and_have_the_types_that_they_should(tmp_path):
    make_cells(600, 100).write_h5ad(tmp_path / "plain.h5ad")
    families, given = ["halves", "simulated"], {"columns": ["donor"], "most_cells": 300}
    found = {case.family: case for case in cases_of(tmp_path / "plain.h5ad", families, **given)}
    assert list(found) == ["halves", "simulated"]
    halves = found["halves"].cells
    table = pd.crosstab(halves.obs["cell_type"], halves.obs["made"])
    assert table.shape == (4, 2)
    assert (table.max(axis=1) - table.min(axis=1) <= 1).all()
    sums = [halves.X[(halves.obs["made"] == name).to_numpy()].sum(axis=0) for name in table.columns]
    shares = np.vstack([np.asarray(one).ravel() / one.sum() for one in sums])
    assert np.median(shares.max(axis=0) / shares.min(axis=0)) > 1.2
    simulated = found["simulated"].cells
    n_donors = pd.crosstab(simulated.obs["cell_type"], simulated.obs["sample"]).gt(0).sum(axis=1)
    assert n_donors.min() == 1
    assert n_donors.max() > 1


def test_parts_are_measured_by_two_mixes_of_technologies(tmp_path):
    make_cells(600, 100).write_h5ad(tmp_path / "plain.h5ad")
    given = {"columns": ["donor"], "most_cells": 500}
    found = list(cases_of(tmp_path / "plain.h5ad", ["technologies"], **given))
    again = list(cases_of(tmp_path / "plain.h5ad", ["technologies"], **given))
    assert len({case.dataset for case in found}) == 2
    for case, same in zip(found, again, strict=True):
        mix = technologies.MIXES[case.dataset.partition(", ")[2]]
        assert case.family == "technologies"
        assert set(case.cells.obs["made"]) == {one.name for one in mix}
        assert (case.cells.X != same.cells.X).nnz == 0


def test_parts_are_uneven_and_each_but_the_first_lacks_a_type():
    types, rng = np.repeat(np.arange(5), 200), np.random.default_rng(0)
    table = pd.crosstab(types, technologies.parted(types, 4, rng))
    assert (table == 0).sum().tolist() == [0, 1, 1, 1]
    assert (table == 0).sum(axis=1).max() == 1
    assert table.sum().max() > 1.2 * table.sum().min()


def test_technologies_change_counts_as_they_should():
    counts, rng = make_cells(200, 100).X, np.random.default_rng(0)
    made = {
        name: technologies.measured(counts, technologies.Technology(name, **options), rng)
        for name, options in {
            "as it is": {},
            "shallow": {"kept": 0.25},
            "corrected": {"n_barcodes": 256},
            "reads": {"is_reads": True},
            "otherwise": {"bias": 0.5, "unseen": 0.2},
        }.items()
    }
    assert (made["as it is"] != counts).nnz == 0
    assert made["shallow"].sum() / counts.sum() == pytest.approx(0.25, abs=0.02)
    values = made["corrected"].data
    assert 1 < values.min() < 1.01
    assert made["corrected"].sum() / counts.sum() == pytest.approx(1, abs=0.02)
    totals = np.asarray(made["reads"].sum(axis=1)).ravel()
    assert 0.9e5 < totals.min() < totals.max() < 1.1e6
    assert (made["reads"].data == np.rint(made["reads"].data)).all()
    seen = np.asarray((made["otherwise"] > 0).sum(axis=0)).ravel()
    assert (seen == 0).sum() >= 20
    shares = np.asarray(made["otherwise"].sum(axis=0) / np.maximum(counts.sum(axis=0), 1)).ravel()
    assert np.ptp(shares[seen > 0]) > 0.4


def test_types_of_one_batch_are_the_isolated_ones():
    types = ["a"] * 10 + ["b"] * 10 + ["c"] * 3
    batches = ["1"] * 10 + ["1", "2"] * 5 + ["2"] * 3
    assert donors._of_one_batch(np.array(types), np.array(batches)) == ["a"]


def test_spaces_are_compared_where_scib_metrics_is_installed_and_a_line_says_if_not(monkeypatch):
    monkeypatch.setattr(spaces, "find_spec", lambda _: None)
    assert spaces.space_scores([[0.0], [1.0]], ["a", "b"], ["x", "y"]) == {}
    row = {"family": "sets", "dataset": "one", "way": "correct", "spaces": {"components": {}}}
    assert donor_tables._spaces([row]) == [spaces.LACKING]
    scores = dict.fromkeys(spaces.SCORES, 0.5)
    row["spaces"] = {"components": dict.fromkeys(spaces.SCORES, 0.25)}
    graph = {"graph": {"iLISI": 1.0}}
    other = {"family": "sets", "dataset": "one", "way": "balanced + Leiden", "spaces": graph}
    more = [row | {"dataset": "two", "spaces": {"components": scores}}, other]
    text = donor_tables._spaces([row, *more])
    assert "| sets (2) | correct | components | 0.375 | 0.375 | 0.375 | 0.375 |" in text
    assert not any("graph" in line for line in text)


def test_a_balanced_graph_mixes_fully_and_one_of_single_batches_not_at_all():
    codes = np.array([0, 0, 1, 1])
    assert spaces._effective(np.array([[1, 2], [0, 3], [3, 0], [2, 1]]), codes) == 1
    assert spaces._effective(np.array([[1], [0], [3], [2]]), codes) == 0


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
