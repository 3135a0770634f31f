"""The benchmark of both embeddings in the final clustering, at toy size."""

import numpy as np
import pytest

from bench.accuracy.views import best_on_others, main
from tests.cells import make_cells


def test_the_best_way_is_chosen_on_the_other_sets():
    scores = {"vote": {"a": 0.5, "b": 0.5, "c": 0.5}, "auto": {"a": 1.0, "b": 0.3, "c": 0.3}}
    assert best_on_others(scores) == {"a": ("vote", 0.5), "b": ("auto", 0.3), "c": ("auto", 0.3)}


@pytest.mark.slow
def test_every_way_is_scored_with_and_without_the_number_of_types(tmp_path, data, read):
    page, work = tmp_path / "views.md", tmp_path / "work"
    work.mkdir()
    rng = np.random.default_rng(0)
    types = make_cells().obs["cell_type"].astype("category").cat.codes.to_numpy()
    for method, noise in (("scrcl", 0.1), ("scgpcl", 5.0)):
        rows = np.eye(4)[types] + noise * rng.normal(size=(240, 4))
        np.save(work / f"plain_{method}_0.npy", rows.astype(np.float32))
    given = ["--data", str(data), "--sets", "plain", "--set", "reduce.n_comps=12"]
    main([*given, "--work", str(work), "--out", str(page)])
    text, rows = read(page)
    ways = {(row["way"], row["at"]): row["ari"] for row in rows}
    assert ways["scRCL, k-means", "K"] > 0.9 > 0.5 > ways["scGPCL, k-means", "K"]
    assert {way for way, at in ways if at == "found"} == {
        "vote", "vote + scRCL", "vote + scGPCL", "vote + both", "scRCL, auto", "scGPCL, auto", "auto, both"
    }  # fmt: skip
    assert "### At the number that is found" in text
