"""The benchmark of pseudotime, at toy size."""

from bench.maps import pseudotime
from bench.maps.pseudotime import main, simulated_path


def test_pseudotime_is_compared_with_scanpy_and_with_a_known_time(
    tmp_path, data, options, read, quick, monkeypatch
):
    monkeypatch.setattr(pseudotime, "WEIGHTS", "gauss")  # those of umap are compiled first
    page = tmp_path / "page.md"
    main([*options(data=data, sets="plain", sizes=300, out=page), *quick])
    text, rows = read(page)
    assert [row["n_cells"] for row in rows] == [240, 240, 300, 300]
    assert [100 <= row["n_compared"] <= 101 for row in rows] == [False, True] * 2
    assert all(row["time"] > 0.95 and row["scanpy"] is not None for row in rows[2:])
    assert all(row["time"] is None and row["taken_for_1"] > 0 for row in rows[:2])
    assert text.count("| a simulated path |") == 2


def test_a_path_has_its_time():
    cells = simulated_path(50)
    assert cells.shape == (50, 500)
    assert 0 <= cells.obs["time"].min() < cells.obs["time"].max() <= 1
