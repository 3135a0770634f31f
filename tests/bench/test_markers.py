"""The comparison of markers with scanpy, at toy size."""

from bench.markers.agreement import TESTS, main


def test_scores_agree_with_those_of_scanpy(tmp_path, data, options, read):
    page = tmp_path / "page.md"
    main(options(data=data, sets="plain", out=page))
    text, rows = read(page)
    assert [row["test"] for row in rows] == list(TESTS)
    assert all(row["n_groups"] == 4 and row["n_cells"] == 240 for row in rows)
    assert all(0.999 < row["lowest"] <= row["mean"] <= 1.000001 for row in rows)
    assert text.count("| plain | 240 | 150 | 4 |") == 2
