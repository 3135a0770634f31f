"""From files to components: settings, formats, clients, damage and full disks."""

import json
import os
import re
import shutil
from dataclasses import asdict, replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrcl.engine.budget import plan_budget
from scrcl.engine.convert import convert
from scrcl.engine.describe import describe, for_people
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files, run_matrix
from scrcl.engine.stages import STAGES
from scrcl.errors import InputError, ResumeError, StoreError
from scrcl.io.open import open_input
from scrcl.prep.stats import MatrixStats
from tests.cells import FAST, make_cells
from tests.stores import FORMATS, write_store

PREPARED = ("stats/sums", "stats/cell_counts", "features/genes", "features/gram", "reduce/scores")


def prepared(inputs, out, **overrides):
    """Run up to the components. Returns the arrays that were written."""
    how = {name: overrides.pop(name) for name in ("client",) if name in overrides}
    config = load_config(overrides={**FAST, "device": "cpu", **overrides})
    run_files(inputs, out, config, until="reduce", **how)
    files = {name: out / "stages" / f"{name}.npy" for name in PREPARED}
    return {name: np.load(file) for name, file in files.items() if file.exists()}


def assert_close(found, expected):
    for name in ("stats/cell_counts", "features/genes"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_allclose(
        found["features/gram"], expected["features/gram"], rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(found["reduce/scores"], expected["reduce/scores"], atol=2e-3)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_gives_the_same_components(tmp_path, name):
    adata = make_cells()
    expected = prepared([write_store("h5ad csr", adata, tmp_path / "a")], tmp_path / "one")
    found = prepared([write_store(name, adata, tmp_path / "b")], tmp_path / "two")
    assert_close(found, expected)


def test_the_order_of_samples_and_their_store_change_no_component(tmp_path):
    adata = make_cells()
    parts = {"a": adata[:90], "b": adata[90:200], "c": adata[200:]}
    for name, part in parts.items():
        part.copy().write_h5ad(tmp_path / f"{name}.h5ad")
    paths = {name: tmp_path / f"{name}.h5ad" for name in parts}
    expected = prepared([paths[n] for n in "abc"], tmp_path / "abc")
    turned = prepared([paths[n] for n in "cab"], tmp_path / "cab")
    back = np.r_[40:240, 0:40]
    np.testing.assert_array_equal(turned["features/genes"], expected["features/genes"])
    np.testing.assert_allclose(turned["reduce/scores"][back], expected["reduce/scores"], atol=2e-3)
    convert([paths[n] for n in "abc"], tmp_path / "joined.zarr")
    assert_close(prepared([tmp_path / "joined.zarr"], tmp_path / "store"), expected)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block_rows=st.integers(1, 300), n_workers=st.integers(1, 4))
def test_blocks_and_workers_change_no_component(tmp_path, monkeypatch, block_rows, n_workers):
    (tmp_path / "runs").mkdir(exist_ok=True)
    cells = tmp_path / "cells.h5ad"
    if not cells.exists():
        make_cells().write_h5ad(cells)
        prepared([cells], tmp_path / "whole")
    expected = {n: np.load(tmp_path / "whole/stages" / f"{n}.npy") for n in PREPARED}

    def other(*args, **kwargs):
        return replace(plan_budget(*args, **kwargs), block_rows=block_rows, n_workers=n_workers)

    monkeypatch.setattr("scrcl.engine.run.plan_budget", other)
    out = tmp_path / "runs" / f"{block_rows}-{n_workers}"
    shutil.rmtree(out, ignore_errors=True)
    assert_close(prepared([cells], out), expected)


def test_a_distributed_client_gives_the_same_bits(cells, tmp_path):
    from distributed import Client, LocalCluster

    expected = prepared([cells], tmp_path / "threads")
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        found = prepared([cells], tmp_path / "client", client=client)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def scanpy_genes(adata, kept, *, flavor, n_top, batch_key=None):
    adata = adata[kept].copy()
    sc.pp.filter_genes(adata, min_cells=1)
    if flavor != "seurat_v3":
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=n_top, batch_key=batch_key)
    return set(adata.var_names[adata.var["highly_variable"]])


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger", "seurat_v3"])
@pytest.mark.parametrize("batch_key", [None, "donor"])
def test_filters_flavours_and_batches_select_the_genes_of_scanpy(tmp_path, flavor, batch_key):
    # Scores tie in bins of two genes; with these numbers none does where the last gene is taken.
    adata = make_cells(400, 600)
    adata.obs["donor"] = pd.Categorical(np.random.default_rng(0).choice(["x", "y", "z"], 400))
    adata.var_names = [f"MT-{i}" if i % 25 == 0 else f"gene{i}" for i in range(600)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    x = adata.X
    is_mito = np.arange(600) % 25 == 0
    counts, genes = np.asarray(x.sum(1)).ravel(), np.diff(x.indptr)
    share = np.asarray(x[:, is_mito].sum(1)).ravel() / counts
    limits = {
        "min_genes": int(np.quantile(genes, 0.1)),
        "max_counts": float(np.quantile(counts, 0.9)),
        "max_mito": float(np.quantile(share, 0.9)),
    }
    kept = (
        (genes >= limits["min_genes"])
        & (counts <= limits["max_counts"])
        & (share <= limits["max_mito"])
    )
    # Random batches show no effect; with this method genes are selected by batch all the same.
    found = prepared(
        [tmp_path / "cells.h5ad"],
        tmp_path / "out",
        batch_key=batch_key,
        correct={"method": "none"},
        features={**limits, "flavor": flavor, "n_top_genes": 150},
    )
    stats = MatrixStats.load(tmp_path / "out/stages/stats")
    assert stats.retained.sum() == kept.sum() < 400
    expected = scanpy_genes(adata, kept, flavor=flavor, n_top=150, batch_key=batch_key)
    assert set(adata.var_names[found["features/genes"]]) == expected


def test_genes_in_too_few_cells_are_not_selected(cells, tmp_path):
    found = prepared([cells], tmp_path / "out", features={"min_cells": 100})
    n_cells = np.asarray((make_cells().X > 0).sum(axis=0)).ravel()
    assert (n_cells < 100).any()
    assert (n_cells[found["features/genes"]] >= 100).all()


def test_the_randomized_solver_gives_nearly_the_same_components(cells, tmp_path):
    expected = prepared([cells], tmp_path / "plain")
    found = prepared([cells], tmp_path / "other", reduce={"solver": "randomized", "n_comps": 12})
    assert "features/gram" not in found
    a, b = expected["reduce/scores"][:, :3], found["reduce/scores"][:, :3]
    np.testing.assert_allclose(a, b, atol=0.05 * np.abs(a).max())


def test_a_run_that_ended_early_resumes(cells, tmp_path, config):
    out = tmp_path / "out"
    early = run_files([cells], out, config, until="reduce")
    assert [s["name"] for s in early.stages] == ["read", "stats", "features", "reduce"]
    assert early.result_path is None
    assert not (out / "report.html").exists()
    done = run_files([cells], out, config)
    manifest = json.loads((out / "run.json").read_text())
    assert [s["name"] for s in manifest["stages"]] == [stage.name for stage in STAGES]
    assert manifest["stages"][:4] == early.stages
    assert done.result_path.exists()
    with pytest.raises(InputError, match=r"until .*'nowhere'"):
        run_files([cells], out, config, until="nowhere")


def test_samples_on_all_genes_keep_those_that_one_lacks(tmp_path):
    adata = make_cells()
    adata[:120, :140].copy().write_h5ad(tmp_path / "a.h5ad")
    adata[120:, 10:].copy().write_h5ad(tmp_path / "b.h5ad")
    inputs = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    prepared(inputs, tmp_path / "inner")
    prepared(inputs, tmp_path / "outer", join="outer")
    n_genes = [
        json.loads((tmp_path / out / "run.json").read_text())["stages"][0]["n_genes"]
        for out in ("inner", "outer")
    ]
    assert n_genes == [130, 150]


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (None, {"batch_key": "donor"}, r"batch_key .*got 'donor'"),
        ("gap", {"batch_key": "donor"}, r"batch_key .*donor.*, where cell cell7 has none\. "),
        ("each", {"batch_key": "donor"}, r"batch_key .*got 'donor'.* 240 cells"),
        (None, {"features": {"max_mito": 0.1}}, r"max_mito .*'MT-'"),
        ("log", {"features": {"flavor": "seurat_v3"}}, r"seurat_v3 .*log values"),
        (
            "log",
            {"features": {"max_mito": 0.1, "mito_prefix": "gene1"}},
            r"max_mito .*log values",
        ),
        (None, {"features": {"min_genes": 10**6}}, r"min_genes .*150; got 1,000,000"),
    ],
)
def test_filters_and_columns_that_cannot_be_used_are_refused(tmp_path, change, overrides, message):
    adata = make_cells()
    if change == "gap":
        adata.obs["donor"] = pd.Categorical(["x" if i != 7 else None for i in range(240)])
    if change == "each":
        adata.obs["donor"] = np.arange(240)
    if change == "log":
        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=message):
        prepared([tmp_path / "cells.h5ad"], tmp_path / "out", **overrides)
    assert not (tmp_path / "out").exists()


def test_repeated_names_empty_cells_and_genes_are_no_obstacle(tmp_path, caplog):
    adata = make_cells()
    x = adata.X.tolil()
    x[5] = x[77] = 0
    x[:, 9] = 0
    adata.X = x.tocsr()
    adata.obs_names = ["same"] * 240
    adata.var_names = ["twin", "twin", *adata.var_names[2:]]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = prepared([tmp_path / "cells.h5ad"], tmp_path / "out")
    assert found["reduce/scores"].shape[0] == 238
    assert 9 not in found["features/genes"]
    matrix = open_input([tmp_path / "cells.h5ad"])
    assert matrix.obs.index.is_unique
    assert matrix.var.index[:2].tolist() == ["twin", "twin-1"]


def test_a_damaged_sample_is_named_and_finished_stages_are_kept(cells, tmp_path):
    make_cells(seed=1).write_h5ad(tmp_path / "other.h5ad")
    convert([tmp_path / "other.h5ad"], tmp_path / "store.zarr")
    prepared([cells, tmp_path / "store.zarr"], tmp_path / "out")
    shutil.rmtree(tmp_path / "out/stages/features")
    chunk = tmp_path / "store.zarr/X/data/c/0"
    before = chunk.stat()
    content = bytearray(chunk.read_bytes())
    content[len(content) // 3] ^= 4
    chunk.write_bytes(content)
    os.utime(chunk, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ResumeError, match="content of its input changed"):
        prepared([cells, tmp_path / "store.zarr"], tmp_path / "out")
    with pytest.raises(StoreError, match=r"store\.zarr .*X/data/c/0.* 0 to 239"):
        prepared([cells, tmp_path / "store.zarr"], tmp_path / "fresh")
    assert (tmp_path / "out/stages/stats").is_dir()


@pytest.mark.slow
def test_a_run_stopped_by_a_full_disk_in_any_stage_resumes_when_there_is_room(
    cells, tmp_path, small_disk, resize, config
):
    expected = run_files([cells], tmp_path / "whole", config)
    out, size_kb, stopped_at, reasons = small_disk / "out", 64, set(), set()
    while size_kb < 10**5:
        try:
            result = run_files([cells], out, config)
            break
        except StoreError as error:
            reasons.add(re.sub(r".* must have room", "", str(error))[:12])
            done = json.loads((out / "run.json").read_text())["stages"] if out.exists() else []
            stopped_at.add(len(done))
            for stage in done:
                assert (out / "stages" / stage["name"]).is_dir()
        size_kb = int(size_kb * 1.15) + 16
        resize(size_kb)
    assert len(stopped_at) >= 3
    assert reasons <= {"; it is full", " for the res"}
    ours, theirs = (anndata.read_h5ad(r.result_path) for r in (result, expected))
    assert ours.obs["scrcl"].tolist() == theirs.obs["scrcl"].tolist()
    np.testing.assert_array_equal(ours.obsm["X_scrcl"], theirs.obsm["X_scrcl"])


def test_memory_of_the_passes_is_not_that_of_the_cells(tmp_path, monkeypatch):
    """Names of many cells are read at the end only: a matrix whose names cannot be read is reduced nevertheless."""
    monkeypatch.setattr("scrcl.engine.orientation._MOST_ROWS", 100)
    make_cells().write_h5ad(tmp_path / "cells.h5ad")

    def no_names():
        raise AssertionError("names were read")

    def open_matrix(scratch):
        return replace(open_input([tmp_path / "cells.h5ad"], scratch=scratch), load_obs=no_names)

    config = load_config(overrides={**FAST, "device": "cpu"})
    done = run_matrix(open_matrix, tmp_path / "out", config, until="reduce")
    assert done.stages[-1]["name"] == "reduce"


def test_a_category_without_cells_is_no_batch(tmp_path):
    adata = make_cells()
    adata.obs["donor"] = pd.Categorical(["x"] * 240, categories=["x", "gone"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    plain = prepared([tmp_path / "cells.h5ad"], tmp_path / "plain")
    found = prepared([tmp_path / "cells.h5ad"], tmp_path / "out", batch_key="donor")
    assert found["stats/sums"].shape[0] == 1
    np.testing.assert_array_equal(found["features/genes"], plain["features/genes"])


def test_a_panel_of_few_genes_is_taken_whole(tmp_path):
    adata = make_cells()
    x = adata.X.toarray()
    x[:, 3] = 2  # hardly varies, whatever is normalised
    adata.X = sparse.csr_matrix(x)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = prepared([tmp_path / "cells.h5ad"], tmp_path / "out", features={"n_top_genes": 150})
    np.testing.assert_array_equal(found["features/genes"], np.flatnonzero(x.any(axis=0)))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x, "counts"),
        (lambda x: x * 0.3, "counts that are not whole numbers"),
        (lambda x: np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4), "logarithms of normalised counts"),
        (lambda x: np.log2(x / x.sum(axis=1, keepdims=True) * 1e4 + 1), "logarithms of normalised counts (base 2)"),
        (lambda x: np.log10(x / x.sum(axis=1, keepdims=True) * 1e4 + 1), "logarithms of normalised counts (base 10)"),
        (lambda x: x - 1, "not counts (some are negative, as scaled or corrected values are)"),
        (lambda x: np.vstack([x[:120], np.log1p(x[120:])]), "logarithms in some cells, counts in others"),
    ],
)  # fmt: skip
def test_values_are_described_as_a_run_takes_them(tmp_path, change, kind):
    adata = make_cells()
    adata.X = change(adata.X.toarray()).astype(np.float32)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert describe(tmp_path / "cells.h5ad").values == kind


def test_what_is_seen_in_the_first_rows_is_called_a_sample(tmp_path):
    adata = make_cells(n_cells=1_200, n_genes=20)
    adata.X[1_100, adata.X[1_100].indices[0]] = 5_000
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = describe(tmp_path / "cells.h5ad")
    assert found.sample_cells == 1_000
    assert found.largest_in_sample == adata.X[:1_000].max() < 5_000
    shown = for_people(asdict(found))
    assert shown["largest value"] == f"{int(found.largest_in_sample):,} in the first 1,000 cells"
    assert not any("sample" in name or "feature store" in name for name in shown)
    assert shown["values"] == "counts"  # their size has another name
    assert (
        for_people({**asdict(found), "n_cells": 900})["largest value"]
        == f"{found.largest_in_sample:.0f}"
    )
