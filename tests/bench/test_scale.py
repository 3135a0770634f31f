"""The benchmarks of whole runs at toy size."""

import sys

import pytest

from bench.scale import small
from bench.scale.__main__ import main


@pytest.mark.slow
def test_the_scale_table_has_a_row_for_each_stage(tmp_path, data, quick, read):
    page, source = tmp_path / "scale.md", str(data / "plain.h5ad")
    main(["--from", source, "--sizes", "300", "--out", str(page), *quick])
    text, rows = read(page)
    for stage in ("read", "train", "report", "**whole process**"):
        assert f"| {stage} |" in text
    assert rows[0]["n_cells"] == 300


def test_a_small_run_is_measured_beside_scanpy(tmp_path, monkeypatch, read):
    monkeypatch.setattr(
        small,
        "_commands",
        lambda *_: {side: [sys.executable, "-Sc", ""] for side in ("scrcl", "scanpy")},
    )
    page = tmp_path / "page.md"
    small.main([str(tmp_path / "cells.h5ad"), "--repeats", "2", "--out", str(page)])
    text, rows = read(page)
    assert [row["side"] for row in rows] == ["scrcl", "scanpy"] * 2
    assert all(row["cpu_s"] > 0 for row in rows)
    assert text.count("| scrcl |") == text.count("| scanpy |") == 1
