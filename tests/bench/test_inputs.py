"""The same matrix in many encodings, and damaged files, at toy size."""

import numpy as np
import pytest

from bench.inputs import damage, damages, logs
from bench.inputs.agreement import is_same_matrix, main, opened
from bench.inputs.encodings import ENCODINGS, IN_MEMORY, small_cells
from bench.inputs.reading import Found, read_plainly

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of zarr formats


@pytest.mark.parametrize("name", [*ENCODINGS, *IN_MEMORY])
def test_every_encoding_is_read_as_the_same_matrix(tmp_path, name):
    cells = small_cells()
    assert is_same_matrix(opened(name, cells, tmp_path), cells)


def test_a_difference_is_seen(tmp_path):
    cells = small_cells()
    matrix = opened("mtx", cells, tmp_path)
    other = cells.copy()
    other.X[5, other.X[5].indices[0]] += 1
    assert not is_same_matrix(matrix, other)
    assert not is_same_matrix(matrix, cells[::-1])
    assert not is_same_matrix(matrix, cells[:, ::-1])


def test_a_page_lists_every_encoding(tmp_path, read):
    page = tmp_path / "page.md"
    main(["--out", str(page), "--whole", "0"])
    text, rows = read(page)
    assert "DIFFERENT" not in text
    assert [row["what"] for row in rows] == [*ENCODINGS, *IN_MEMORY]
    assert all(row["values"] for row in rows)


def test_damaged_files_are_refused_or_right(tmp_path, read):
    page = tmp_path / "damages.md"
    damages.main(["--out", str(page), "--number", "8"])
    text, rows = read(page)
    assert "8 damages, 8 with the right outcome" in text, [row for row in rows if not row["right"]]
    assert {row["outcome"] for row in rows} >= {"refused"}


def test_every_damage_changes_its_file(tmp_path):
    rng = np.random.default_rng(0)
    cells = small_cells(20, 10)
    for number, (name, kind) in enumerate(
        (name, kind)
        for name in ("h5ad CSR", "Zarr v3 dense", "mtx, gzip")
        for kind in damage.DAMAGES
    ):
        (tmp_path / str(number)).mkdir()
        path = ENCODINGS[name](cells, tmp_path / str(number) / "cells")
        if kind in damage.fitting(path):
            before = damages.hash_of(path)
            damage.DAMAGES[kind](path, rng)
            assert damages.hash_of(path) != before, (name, kind)


def test_another_result_is_seen(tmp_path):
    cells = small_cells(20, 10)
    path = ENCODINGS["10x h5, version 3"](cells, tmp_path / "cells")
    found = Found.of(cells)
    assert read_plainly(path) == found
    assert read_plainly(ENCODINGS["mtx, gzip"](cells, tmp_path / "mtx")) == found
    assert Found.of(cells[:, ::-1]) != found
    other = cells.copy()
    other.X[3, other.X[3].indices[0]] += 1
    assert Found.of(other) != found


@pytest.mark.parametrize("name", damages.FORMATS)
def test_a_file_without_damage_gives_its_cells_genes_and_values(tmp_path, name):
    cells = small_cells(40, 30)
    (tmp_path / "in").mkdir()
    path = ENCODINGS[name](cells, tmp_path / "in" / "cells")
    found = damages.judged(path, Found.of(cells), tmp_path, damages.through_stages)
    assert found["outcome"] == "as before the damage", found


def test_log_values_of_counts_are_clustered_as_the_counts(tmp_path, data, quick, options, read):
    page = tmp_path / "logs.md"
    given = options(data=data, out=page, kinds="counts,logs")
    logs.main([*given, *quick, "--set", "cluster.algorithm=vote"])
    text, rows = read(page)
    of = {row["kind"]: row for row in rows}
    assert list(of) == ["counts", "logs"]
    assert of["logs"]["ari_at_k"] == pytest.approx(of["counts"]["ari_at_k"], abs=0.05)
    assert "**mean of 1**" in text
    assert "tissue" not in text
