"""The benchmark of gene graphs at toy size."""

import pytest

from bench.genes.__main__ import METRICS, main


@pytest.mark.slow
def test_gene_graphs_are_compared_by_metric_with_all_cells_and_between_halves(
    tmp_path, data, options, read
):
    page = tmp_path / "genes.md"
    main(options(data=data, sets="plain", comps="8,150", out=page))
    text, (found,) = read(page)
    assert found["dataset"] == "plain"
    assert [row["metric"] for row in found["rows"]] == [m for m in METRICS for _ in range(3)]
    for row in found["rows"]:
        assert 0 < row["agrees"] <= 1
        assert 0 < row["halves_agree"] < 1
        if row["by"] == "all cells" or (
            row["by"] == "sketch of 150" and row["metric"] != "euclidean"
        ):
            assert row["agrees"] > 0.99
    assert text.count("| plain | 240 | 150 |") == 3
