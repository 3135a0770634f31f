"""The benchmarks of whole runs at toy size."""

import pytest

from bench.scale.__main__ import main


@pytest.mark.slow
def test_the_scale_table_has_a_row_for_each_stage(tmp_path, data, quick, read):
    page, source = tmp_path / "scale.md", str(data / "plain.h5ad")
    main(["--from", source, "--sizes", "300", "--out", str(page), *quick])
    text, rows = read(page)
    for stage in ("read", "train", "report", "**whole process**"):
        assert f"| {stage} |" in text
    assert rows[0]["n_cells"] == 300
