from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import asdict

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl._progress import Silent
from scrcl.engine.convert import convert
from scrcl.engine.convert_folder import WorkFolder
from scrcl.engine.disk import require_room
from scrcl.errors import InputError, ResumeError, StoreError
from scrcl.io import store
from scrcl.io.open import open_input
from scrcl.io.stored_dtype import exact_x
from scrcl.io.stream import iter_rows
from tests.stores import FORMATS, random_counts, table, write_store, write_zarr

COUNTS = random_counts(83, 31)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "CHUNK_VALUES", 8)
    monkeypatch.setattr(store, "SHARD_VALUES", 16)


@pytest.fixture
def cells(tmp_path):
    adata = table(COUNTS)
    adata.obs["tissue"] = pd.Categorical(["b", "a", None] * 27 + ["a", "b"])
    adata.obs["age"] = np.arange(83)[::-1] // 4
    adata.obsm["spatial"] = np.arange(166.0).reshape(83, 2)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def contents(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_the_same_matrix(name, tmp_path):
    path = write_store(name, table(COUNTS), tmp_path / "in")
    record = asdict(convert([path], tmp_path / "out.zarr", block_bytes=4_000))
    back = ad.read_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(back.X.toarray(), COUNTS.toarray())
    assert back.obs_names.tolist() == [f"cell{i}" for i in range(83)]
    assert back.var_names.tolist() == [f"gene{i}" for i in range(31)]
    assert back.uns["scrcl_store"]["sources"].tolist() == [path.name]
    assert record.items() >= {
        "n_cells": 83, "n_genes": 31, "stored_values": COUNTS.nnz, "dtype": "uint8",
        "index_dtype": "uint16", "resumed": False,
    }.items()  # fmt: skip
    assert record["bytes_in"] > 0
    assert record["bytes_out"] == sum(map(len, contents(tmp_path / "out.zarr").values()))
    assert hidden(tmp_path) == []


def test_annotations_of_cells_are_copied(cells, tmp_path):
    convert([cells], tmp_path / "out.zarr")
    back, before = ad.read_zarr(tmp_path / "out.zarr"), ad.read_h5ad(cells)
    pd.testing.assert_frame_equal(back.obs, before.obs)
    np.testing.assert_array_equal(back.obsm["spatial"], before.obsm["spatial"])


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_samples_are_joined_as_anndata_joins_them(join, tmp_path):
    made = {}
    for i, name in enumerate(("one", "two", "three")):
        adata = table(random_counts(30, 25, seed=i))[:, i * 3 : 20 + i * 2].copy()
        adata.X = (sparse.csr_matrix, sparse.csc_matrix, np.asarray)[i](
            adata.X.toarray() if i == 2 else adata.X
        )
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        made[name] = adata
    convert([tmp_path / f"{n}.h5ad" for n in made], tmp_path / "out.zarr", join=join)
    back = ad.read_zarr(tmp_path / "out.zarr")
    made = {n: ad.AnnData(sparse.csr_matrix(a.X), a.obs, a.var) for n, a in made.items()}
    expected = ad.concat(made, join=join, label="sample", index_unique="-", fill_value=0)
    np.testing.assert_array_equal(back.X.toarray(), expected[:, back.var_names].X.toarray())
    assert sorted(back.var_names) == sorted(expected.var_names)
    pd.testing.assert_frame_equal(back.obs, expected.obs, check_categorical=False)
    assert back.uns["scrcl_store"]["join"] == join


def orders(tmp_path):
    order = np.random.default_rng(1).permutation(83)[:70]
    np.save(tmp_path / "order.npy", order)
    (tmp_path / "order.txt").write_text("\n".join(map(str, order)))
    tissue = np.array(["b", "a", "z"] * 27 + ["a", "b"])
    return {
        "npy": (tmp_path / "order.npy", order),
        "txt": (str(tmp_path / "order.txt"), order),
        "array": (order, order),
        "tissue": ("tissue", np.argsort(tissue, kind="stable")),
        "age": ("age", np.argsort(np.arange(83)[::-1] // 4, kind="stable")),
    }


@pytest.mark.parametrize("kind", ["npy", "txt", "array", "tissue", "age"])
def test_rows_are_written_in_the_given_order(kind, cells, tmp_path):
    order, rows = orders(tmp_path)[kind]
    record = convert([cells], tmp_path / "out.zarr", order=order, block_bytes=2_000)
    back = ad.read_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(back.X.toarray(), COUNTS[rows].toarray())
    assert back.obs_names.tolist() == [f"cell{i}" for i in rows]
    np.testing.assert_array_equal(back.obsm["spatial"][:, 0], 2 * rows)
    assert record.n_cells == len(rows)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("colour", "got colour.*tissue, age"),
        (np.array([0, 0]), "row 0 2 times"),
        ("order.txt", "order.txt"),
    ],
)
def test_a_wrong_order_is_refused_and_leaves_nothing(order, message, cells, tmp_path):
    if isinstance(order, str) and order == "order.txt":
        order = tmp_path / order
        order.write_text("first\n")
    with pytest.raises(InputError, match=message):
        convert([cells], tmp_path / "out.zarr", order=order)
    assert hidden(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from scrcl.engine import convert_folder
from scrcl.engine.convert import convert
from scrcl.io import store
store.CHUNK_VALUES, store.SHARD_VALUES = 8, 16
saves = iter(range(1000))
save = convert_folder.WorkFolder.save
def dying(self, **more):
    if next(saves) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, **more)
    if "n_values" in self.journal:  # a shard cut in its middle
        (self.path / "store/X/data/c").mkdir(exist_ok=True)
        (self.path / "store/X/data/c/99.aa.partial").write_bytes(b"cut")
convert_folder.WorkFolder.save = dying
convert([Path(sys.argv[1])], Path(sys.argv[2]), order=sys.argv[3] or None, block_bytes=2_000)
"""


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("order", ["", "tissue"])
def test_a_killed_conversion_resumes_and_ends_in_the_same_bytes(order, cells, tmp_path):
    convert([cells], tmp_path / "whole.zarr", order=order or None)
    out = tmp_path / "out.zarr"
    n_shards = -(-COUNTS.nnz // 16)
    # One write of the journal after the survey, one a shard, and those at either end.
    for at in (1, 4, n_shards - 3):
        command = [sys.executable, "-c", KILLED, str(cells), str(out), order, str(at)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert not out.exists()
    assert WorkFolder(out).path.exists()
    record = convert([cells], out, order=order or None, block_bytes=1_000)
    assert record.resumed
    assert contents(out) == contents(tmp_path / "whole.zarr")
    assert hidden(tmp_path) == []


def test_the_same_call_finishes_after_a_kill_at_the_very_end(cells, tmp_path):
    out = tmp_path / "out.zarr"

    class Killed(BaseException):
        pass

    def kill_after_move(self):
        (self.path / "store").rename(self.out)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkFolder, "move", kill_after_move)
        with pytest.raises(Killed):
            convert([cells], out)
    before = contents(out)
    assert convert([cells], out).stored_values == COUNTS.nnz
    assert contents(out) == before
    assert hidden(tmp_path) == []
    with pytest.raises(StoreError, match="must not exist"):
        convert([cells], out)


class Failing(Silent):
    """Stops when so many rows were written."""

    def __init__(self, rows):
        self.left, self.stage, self.notes = rows, "", []

    def stage_started(self, name, total, unit):
        self.stage = name

    def advance(self, n):
        self.left -= n if self.stage == "write" else 0
        if self.left < 0:
            raise KeyboardInterrupt

    def note(self, message):
        self.notes.append(message)


def test_work_on_another_input_is_started_over_with_a_note(cells, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        convert([cells], tmp_path / "out.zarr", block_bytes=2_000, reporter=Failing(40))
    table(COUNTS * 2).write_h5ad(cells)
    reporter = Failing(10_000)
    record = convert([cells], tmp_path / "out.zarr", reporter=reporter)
    assert "Starting over" in reporter.notes[0]
    assert not record.resumed
    assert ad.read_zarr(tmp_path / "out.zarr").X.sum() == 2 * COUNTS.sum()


def test_two_writers_of_one_store_are_kept_apart(cells, tmp_path):
    class Second(Silent):
        def advance(self, n):
            convert([cells], tmp_path / "out.zarr")

    with pytest.raises(ResumeError, match="one process"):
        convert([cells], tmp_path / "out.zarr", reporter=Second())


def test_an_out_that_exists_or_is_in_an_input_is_refused(cells, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    with pytest.raises(StoreError, match="must not exist"):
        convert([cells], tmp_path / "out.zarr")
    inside = write_zarr(table(COUNTS), tmp_path / "in.zarr")
    with pytest.raises(InputError, match="apart"):
        convert([inside], inside / "out.zarr")
    with pytest.raises(InputError, match="apart"):
        convert([inside], inside)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can be written"):
        convert([cells], tmp_path / "file" / "out.zarr")


@pytest.mark.parametrize("order", [None, "sample"])
def test_a_sample_damaged_in_the_middle_is_named_with_its_rows(order, cells, tmp_path):
    broken = tmp_path / "broken.h5ad"
    table(COUNTS).write_h5ad(broken)
    with h5py.File(broken, "r+") as file:
        file["X/indices"][int(COUNTS.indptr[41])] = 31_000
    with pytest.raises(
        StoreError, match=r"broken\.h5ad must be readable; chunk .* rows \d+ to \d+, is not"
    ) as e:
        convert([cells, broken], tmp_path / "out.zarr", order=order, block_bytes=1_000)
    first, last = map(int, re.search(r"rows (\d+) to (\d+),", str(e.value)).groups())
    assert first <= 41 <= last < len(COUNTS.indptr) - 1
    assert not (tmp_path / "out.zarr").exists()
    assert hidden(tmp_path) == []


def test_a_flipped_bit_of_a_zarr_sample_is_named(cells, tmp_path):
    convert([cells], tmp_path / "one.zarr")
    file = tmp_path / "one.zarr/X/data/c/5"
    damaged = bytearray(file.read_bytes())
    damaged[10] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"one\.zarr must be readable; chunk .*X/data/c.* rows"):
        convert([cells, tmp_path / "one.zarr"], tmp_path / "out.zarr")


def test_a_full_disk_is_named_and_the_work_resumes_when_there_is_room(
    cells, tmp_path, small_disk, resize
):
    convert([cells], tmp_path / "whole.zarr")
    resize(200)
    out = small_disk / "out.zarr"
    with pytest.raises(StoreError, match=r"disk of .*out\.zarr must have room"):
        convert([cells], out, block_bytes=1_000)
    assert not out.exists()
    resize(10_000)
    assert convert([cells], out).resumed
    assert contents(out) == contents(tmp_path / "whole.zarr")


def test_a_store_larger_than_the_disk_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"the store, about 1.00 PB"):
        require_room(tmp_path / "out.zarr", 10**15, "the store")


def test_the_store_is_an_input_like_any_other(cells, tmp_path):
    convert([cells], tmp_path / "out.zarr")
    matrix = open_input([tmp_path / "out.zarr"])
    rows = sparse.vstack([block for _, block in iter_rows(matrix.x(9))])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.toarray(), COUNTS.toarray())
    ((_, block), *_) = iter_rows(exact_x(matrix, 9))
    assert block.dtype == np.uint8


@pytest.mark.parametrize("content", [b"", b"9" * 40])
def test_an_order_that_cannot_be_read_is_named(cells, tmp_path, content):
    for name in ("order.npy", "order.txt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="order"):
            convert([cells], tmp_path / "out.zarr", order=tmp_path / name)


def test_a_store_cannot_replace_the_current_folder(cells, tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with pytest.raises(StoreError, match="must not exist"):
        convert([cells], tmp_path.__class__("."))


def test_a_column_named_like_a_half_written_file_is_kept(tmp_path):
    adata = table(COUNTS)
    adata.obs["score.partial"] = np.arange(adata.n_obs)
    adata.write_h5ad(tmp_path / "in.h5ad")
    convert([tmp_path / "in.h5ad"], tmp_path / "out.zarr")
    assert ad.read_zarr(tmp_path / "out.zarr").obs["score.partial"].tolist() == list(
        range(adata.n_obs)
    )


def test_what_a_store_does_not_hold_is_said(tmp_path, caplog):
    adata = table(random_counts(20, 12))
    adata.layers["log"] = adata.X.log1p()
    adata.raw = adata
    adata.obsm["spatial"], adata.obsm["wide"] = np.ones((20, 2)), np.ones((20, 5))
    adata.uns["images"] = 1
    adata.write_h5ad(tmp_path / "cells.h5ad")
    convert(tmp_path / "cells.h5ad", tmp_path / "x.zarr", layer="log")
    assert "Not written: X, raw, obsm/wide, uns/images" in caplog.text
    caplog.clear()
    convert(tmp_path / "x.zarr", tmp_path / "y.zarr")
    assert "Not written" not in caplog.text
