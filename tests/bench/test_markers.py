"""The comparisons of markers with scanpy, at toy size."""

from bench.markers.agreement import TESTS, main
from bench.markers.large import measured
from tests.cells import make_cells
from tests.stores import write_zarr


def test_scores_agree_with_those_of_scanpy(tmp_path, data, options, read):
    page = tmp_path / "page.md"
    main(options(data=data, sets="plain", out=page))
    text, rows = read(page)
    assert [row["test"] for row in rows] == list(TESTS)
    assert all(row["n_groups"] == 4 and row["n_cells"] == 240 for row in rows)
    assert all(0.999 < row["lowest"] <= row["mean"] <= 1.000001 for row in rows)
    assert text.count("| plain | 240 | 150 | 4 |") == 2


def test_a_large_atlas_is_measured_beside_scanpy(tmp_path):
    store = write_zarr(make_cells(), tmp_path)
    for side, n_cells in (("scrcl", 240), ("scrcl", 200), ("scanpy", 200)):
        row = measured(side, store, n_cells)
        assert (row["side"], row["n_cells"]) == (side, n_cells)
        assert row["cpu_s"] > 0
