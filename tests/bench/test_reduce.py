"""The benchmark from a store to components at toy size."""

import subprocess

import numpy as np
import pytest

from bench.reduce.__main__ import main
from bench.reduce.decode import block_sizes
from bench.reduce.peers import SIDES
from scrcl.io.rows import StoredRows
from tests.cells import make_cells
from tests.warm import ColdPopen


@pytest.fixture(scope="session")
def atlases(tmp_path_factory):
    """Folder for simulated atlases, which are made once."""
    return tmp_path_factory.mktemp("atlases")


@pytest.fixture
def toy(tmp_path, atlases, options, read):
    def run(*sections, **extra):
        values = {"sizes": "400,800", "genes": 300, "gzip-cells": 200, "repeats": 1, "workers": 2,
                  "scanpy": 400, "dask-rows": 100, "memory": "1GB", "atlases": atlases,
                  "only": ",".join(sections), "out": tmp_path / "reduce.md"}  # fmt: skip
        main(options(**(values | extra)))
        text, rows = read(tmp_path / "reduce.md")
        return text, {row["section"]: row["found"] for row in rows}

    return run


@pytest.mark.slow
@pytest.mark.xdist_group("atlases")
def test_stages_are_measured_by_size_and_compared_with_their_estimates(toy):
    text, found = toy("plan", "scale")
    for stage in ("read", "stats", "features", "reduce", "**whole process**"):
        assert f"| {stage} |" in text
    assert [size["n_cells"] for size in found["scale"]["sizes"]] == [400, 800]
    assert 1.5 < found["scale"]["largest_over_smallest"]["stored_values"] < 2.5
    assert [row["stage"] for row in found["plan"]] == ["read", "stats", "features", "reduce"] * 2
    stages = [stage for size in found["scale"]["sizes"] for stage in size["stages"]]
    assert [row["seconds"] for row in found["plan"]] == [stage["seconds"] for stage in stages]


@pytest.mark.slow
@pytest.mark.xdist_group("atlases")
def test_decoding_alone_is_measured_on_the_same_blocks_for_each_kind_of_store(toy):
    text, found = toy("decode")
    rows = found["decode"]
    assert [(row["n_cells"], row["cached"]) for row in rows] == [
        (400, True), (400, False), (200, True), (200, False)
    ]  # fmt: skip
    assert "gzip.h5ad | 200 | cold | 2 |" in text
    for row, bytes_a_value in zip(rows, (4, 4, 8, 8), strict=True):
        assert row["decoded_bytes"] in {
            row["stored_values"] * bytes_a_value,
            row["stored_values"] * 3,
        }
        assert row["stats_seconds"] > 0 < row["decode_seconds"]


def test_the_sizes_of_a_block_are_those_of_its_stored_types():
    stored = StoredRows(
        np.ones(3, np.uint16), np.zeros(3, np.uint16), np.array([0, 2, 3]), n_vars=5
    )
    assert block_sizes(7, stored).tolist() == [2, 3, 12]
    assert block_sizes(7, np.zeros((4, 5), np.float32)).tolist() == [4, 20, 80]


@pytest.mark.slow
@pytest.mark.xdist_group("atlases")
def test_scanpy_and_scrcl_find_the_same_on_the_store_they_share(toy, tmp_path):
    make_cells(n_cells=400, n_genes=300).write_h5ad(tmp_path / "cells.h5ad")
    text, found = toy("peers", atlas=tmp_path / "cells.h5ad")
    sides = found["peers"]["sides"]
    assert set(sides) == set(SIDES)
    assert all(f"| {name} | 1 |" in text for name in SIDES.values())
    assert all(side["genes_that_differ"] == 0 for side in sides.values())
    assert all(side["variance_off_by"] < 1e-4 for side in sides.values())
    assert all(side["seconds"] > side["without_imports"] > 0 for side in sides.values())


@pytest.mark.slow
@pytest.mark.xdist_group("atlases")
def test_a_peer_that_runs_out_of_memory_is_reported_and_the_others_continue(toy, monkeypatch):
    # With the libraries loaded, a process would be above the limit before it begins.
    monkeypatch.setattr(subprocess, "Popen", ColdPopen)
    text, found = toy("peers", **{"limit-gb": 0.5, "sides": "memory,scrcl"})
    sides = found["peers"]["sides"]
    assert "failed" in sides["memory"]
    assert f"| {SIDES['memory']} | {sides['memory']['failed']} |" in text
    assert sides["scrcl"]["runs"] == 1


@pytest.mark.slow
@pytest.mark.xdist_group("atlases")
def test_genes_and_components_of_a_set_are_compared_with_those_of_scanpy(toy, tmp_path):
    (tmp_path / "data").mkdir()
    make_cells(n_cells=300, n_genes=400).write_h5ad(tmp_path / "data" / "plain.h5ad")
    text, found = toy("genes", data=tmp_path / "data")
    (row,) = found["genes"]
    assert "| plain | 300 | 400 | 200 |" in text
    assert len(row["genes_that_differ"]) == 6
    assert all(choice == {"differ": 0} for choice in row["genes_that_differ"].values())
    assert row["angle"] < 1e-3
    assert row["n_comps"] == 50
    assert "6 of 6 choices are the same." in text
