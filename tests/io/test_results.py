from __future__ import annotations

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.io.open import from_anndata, open_input
from scrcl.io.results import _in_blocks, pairs_in_blocks, read_obs, write_result
from tests.stores import random_counts, table

COUNTS = random_counts(30, 8)
READ = {"h5ad": ad.read_h5ad, "zarr": ad.read_zarr}


def save(path, fmt, **changes):
    adata = table(COUNTS)
    parts = {"obs": adata.obs, "var": adata.var, "obsm": {}, "obsp": {}, "uns": {}} | changes
    write_result(path, fmt=fmt, **parts)
    return READ[fmt](path)


@pytest.mark.parametrize("fmt", READ)
def test_a_written_result_reads_back_unchanged(fmt, tmp_path):
    obs = table(COUNTS).obs.assign(
        scrcl=pd.Categorical.from_codes([1, 0] * 15, ["10", "2"]), n=np.arange(30, dtype=np.int32)
    )
    np.save(tmp_path / "e.npy", np.arange(30 * 5, dtype=np.float32).reshape(30, 5))
    graph = sparse.random(30, 30, 0.1, format="csr", dtype=np.float32, rng=0)
    result = save(
        tmp_path / f"r.{fmt}",
        fmt,
        obs=obs,
        obsm={
            "X_scrcl": np.load(tmp_path / "e.npy", mmap_mode="r"),
            "part": np.load(tmp_path / "e.npy", mmap_mode="r")[:, 1:3],
            "spatial": np.ones((30, 2)),
        },
        obsp={"distances": graph},
        uns={"scrcl": {"seed": 0, "markers": pd.DataFrame({"gene": ["a", "b"]})}},
        x=from_anndata(table(COUNTS)).x(7),
    )
    assert list(result.obs["scrcl"].cat.categories) == ["10", "2"]
    assert list(result.obs["scrcl"]) == ["2", "10"] * 15
    assert result.obs["n"].dtype == np.int32
    np.testing.assert_array_equal(result.obsm["X_scrcl"], np.load(tmp_path / "e.npy"))
    np.testing.assert_array_equal(result.obsm["part"], np.load(tmp_path / "e.npy")[:, 1:3])
    assert result.obsm["X_scrcl"].dtype == np.float32
    assert (result.obsp["distances"] != graph).nnz == 0
    assert (sparse.csr_matrix(result.X) != COUNTS).nnz == 0
    assert result.uns["scrcl"]["seed"] == 0
    assert open_input([tmp_path / f"r.{fmt}"]).n_vars == 8
    pd.testing.assert_frame_equal(read_obs(tmp_path / f"r.{fmt}"), result.obs)


@pytest.mark.parametrize("fmt", READ)
@pytest.mark.parametrize("block_entries", [1, 40, 1_000])
def test_a_graph_is_written_in_blocks_of_rows(fmt, block_entries, tmp_path, monkeypatch):
    monkeypatch.setattr("scrcl.io.results._BLOCK_ENTRIES", block_entries)
    graph = sparse.random(30, 30, 0.1, format="csr", dtype=np.float32, rng=0)
    asked = []

    class Rows:
        def __call__(self, start, stop):
            asked.append(stop - start)
            return graph[start:stop]

        def __reduce__(self):
            pytest.fail("dask must not pickle the source of the rows")

    blocks = pairs_in_blocks(Rows(), 30, graph.nnz)
    result = save(tmp_path / f"r.{fmt}", fmt, obsp={"distances": blocks})
    found = result.obsp["distances"]
    assert (found.dtype, found.nnz) == (np.float32, graph.nnz)
    assert (found != graph).nnz == 0
    assert max(asked) == {1: 1, 40: 13, 1_000: 30}[block_entries]


@pytest.mark.parametrize("fmt", READ)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block_bytes", [1, 20 * 7, 20 * 29])
def test_an_array_on_disk_is_written_in_blocks_of_rows(
    fmt, order, block_bytes, tmp_path, monkeypatch
):
    monkeypatch.setattr("scrcl.io.results._BLOCK_BYTES", block_bytes)
    array = np.asarray(np.random.default_rng(0).random((30, 5), np.float32), order=order)
    np.save(tmp_path / "e.npy", array)
    blocks = _in_blocks(np.load(tmp_path / "e.npy", mmap_mode="r"))
    assert blocks.chunks[0][0] == max(block_bytes // 20, 1)
    part = np.load(tmp_path / "e.npy", mmap_mode="r")[3:]  # no whole file
    result = save(
        tmp_path / f"r.{fmt}", fmt, obsm={"X": np.load(tmp_path / "e.npy", mmap_mode="r")}
    )
    np.testing.assert_array_equal(result.obsm["X"], array)
    np.testing.assert_array_equal(_in_blocks(part), array[3:])


def test_an_array_of_one_block_is_no_dask_array(tmp_path):
    np.save(tmp_path / "e.npy", np.ones((30, 5), np.float32))
    for rows in (np.load(tmp_path / "e.npy", mmap_mode="r"), np.ones((30, 5))):
        assert type(_in_blocks(rows)) is np.ndarray


@pytest.mark.parametrize("fmt", READ)
def test_columns_that_anndata_cannot_store_become_strings(fmt, tmp_path):
    days = pd.date_range("2020-01-01", periods=30)
    odd = {
        "date": days,
        "mixed": [1, "a", None] * 10,
        "gaps": ["x", None, "y"] * 10,
        "names": [*map(str, range(29)), None],
        "nothing": [None] * 30,
        "flags": [True, False, None] * 10,
        "maybe": pd.array([1, None, 3] * 10, dtype="Int64"),
        "real": pd.array([1.5, None, 3] * 10, dtype="Float64"),
        "text": pd.array(["u", None, "v"] * 10, dtype="string"),
        "bins": pd.cut(np.arange(30), 3),
        "dates": pd.Categorical(days),
        "slash/ed": np.arange(30),
        "_index": np.arange(30),
        5: np.arange(30),
        "complex": np.arange(30) * 1j,
        "half": np.arange(30, dtype=np.float16),
        "objects": [{"a": 1}] * 30,
    }
    obs = pd.DataFrame(odd, index=pd.Index([f"c{i}" for i in range(30)], name="gaps"))
    obs = pd.concat([obs, pd.DataFrame({"gaps": np.arange(30)}, index=obs.index)], axis=1)
    before = obs.copy()
    result = save(tmp_path / f"r.{fmt}", fmt, obs=obs)
    assert result.obs["date"].iloc[0].startswith("2020-01-01")
    assert list(result.obs["mixed"][:2]) == ["1", "a"]
    assert result.obs["mixed"].isna().sum() == result.obs["gaps"].isna().sum() == 10
    assert result.obs["maybe"].sum() == 40
    assert result.obs["real"].isna().sum() == 10
    assert result.obs["flags"].isna().sum() == 10
    assert result.obs["nothing"].isna().all()
    for name in ("slash_ed", "_index_", "5", "gaps-1", "half"):
        assert result.obs[name].tolist() == list(range(30)), name
    assert result.obs["gaps"].tolist()[::3] == ["x"] * 10
    assert result.obs["mixed"].isna().tolist() == [False, False, True] * 10
    assert result.obs["text"].dropna().tolist() == ["u", "v"] * 10
    assert result.obs["real"].dropna().tolist() == [1.5, 3] * 10
    assert result.obs["flags"].dropna().tolist() == [True, False] * 10
    assert result.obs["names"].tolist()[:29] == [*map(str, range(29))]
    assert result.obs["names"].isna().tolist() == [False] * 29 + [True]
    assert result.obs["complex"].iloc[3] == "3j"
    assert result.obs["objects"].iloc[0] == "{'a': 1}"
    assert result.obs["dates"].iloc[1].startswith("2020-01-02")
    assert result.obs["bins"].nunique() == 3
    assert list(result.obs_names) == list(obs.index)
    pd.testing.assert_frame_equal(obs, before)


@pytest.mark.parametrize("fmt", READ)
def test_a_failed_write_leaves_the_earlier_result(fmt, tmp_path):
    path = tmp_path / f"r.{fmt}"
    save(path, fmt, uns={"run": 1})
    assert save(path, fmt, uns={"run": 2}).uns["run"] == 2
    with pytest.raises(Exception, match="object"):
        save(path, fmt, uns={"bad": object()})
    assert READ[fmt](path).uns["run"] == 2
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="fmt must be"):
        save(tmp_path / "r.loom", "loom")


def test_a_missing_result_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="AnnData store"):
        read_obs(tmp_path / "none.h5ad")


SCRIPT = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd
from scrcl.io.results import write_result
folder, fmt, n = Path(sys.argv[1]), sys.argv[2], 300_000
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def write(name, array):
    write_result(folder / name, fmt=fmt, obs=pd.DataFrame(index=np.arange(n)),
                 var=pd.DataFrame(index=["g"]), obsm={"X": array}, obsp={}, uns={})
write("warm", np.zeros((n, 1), np.float32))
before = peak()
write("big", np.load(folder / "big.npy", mmap_mode="r"))
print(peak() - before)
"""


@pytest.mark.parametrize("fmt", READ)
def test_a_big_embedding_on_disk_is_never_whole_in_memory(fmt, tmp_path):
    big = np.lib.format.open_memmap(
        tmp_path / "big.npy", mode="w+", dtype=np.float32, shape=(300_000, 128)
    )
    big[::1000] = 1
    big.flush()
    size_mb = big.nbytes >> 20
    del big
    grown_mb = int(
        subprocess.check_output([sys.executable, "-c", SCRIPT, str(tmp_path), fmt], text=True)
    )
    assert size_mb > 140
    assert grown_mb < 75


def test_a_lost_chunk_of_a_result_is_named_and_zeros_are_no_lost_ones(tmp_path):
    path = tmp_path / "result.zarr"
    obs = pd.DataFrame({"scrcl": pd.Categorical(["0"] * 9), "n": 0}, [f"c{i}" for i in range(9)])
    var = pd.DataFrame(index=["g"])
    write_result(path, fmt="zarr", obs=obs, var=var, obsm={}, obsp={}, uns={})
    pd.testing.assert_frame_equal(read_obs(path, whole=True), obs)
    (path / "obs/scrcl/codes/0").unlink()
    with pytest.raises(StoreError, match="1 of 1 chunks of obs/scrcl/codes are missing"):
        read_obs(path, whole=True)
