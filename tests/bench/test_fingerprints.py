"""The benchmark of fingerprints at toy size."""

import json

import pytest

from bench.fingerprints.__main__ import main
from tests.cells import make_cells


@pytest.mark.slow
def test_the_same_code_gives_the_same_fingerprints_and_another_seed_does_not(
    tmp_path, quick, options, read
):
    data = tmp_path / "data"
    data.mkdir()
    cells = make_cells()
    cells.obs["batch"] = ["a", "b"] * 120
    cells.write_h5ad(data / "kang_pbmc_5donors.h5ad")
    first, second, third = (tmp_path / f"{name}.md" for name in ("first", "second", "third"))
    main([*options(data=data, out=first), *quick])
    against = options(data=data, against=first.with_suffix(".jsonl"))
    main([*against, *options(out=second), *quick])
    text, rows = read(second)
    assert "DIFFERENT" not in text
    assert {"cluster/labels", "embed/embedding", "memory of train"} <= {row["what"] for row in rows}
    assert all(row["same"] for row in rows)
    main([*against, *options(out=third, set="seed=1"), *quick])
    _, rows = read(third)
    changed = {row["what"] for row in rows if not row["same"]}
    assert "embed/embedding" in changed
    assert "graph/ids" not in changed
    assert json.loads(first.with_suffix(".jsonl").read_text().splitlines()[0])["case"] == "batches"
