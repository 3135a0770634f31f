from __future__ import annotations

import errno
import os
import threading
import time

import numpy as np
import pytest

from scrcl.engine.usage import resident_bytes
from scrcl.errors import InputError
from scrcl.io.arrays import (
    RowWriter,
    as_points,
    for_each_block,
    gathered,
    index_dtype,
    new_map,
    release,
    require_finite,
    row_blocks,
)


def test_a_float32_memory_map_is_not_copied(tmp_path):
    np.save(tmp_path / "points.npy", np.ones((5, 3), np.float32))
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert np.shares_memory(as_points(mapped), mapped)


@pytest.mark.parametrize("view", [lambda a: a, lambda a: np.asarray(a)[5:], lambda a: a[:9].T])
def test_pages_of_a_memory_map_are_released_and_read_again(tmp_path, view):
    np.save(tmp_path / "rows.npy", np.ones((10, 1 << 20), np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert mapped.sum() == 10 << 20
    before = resident_bytes()
    release(view(mapped))
    assert before - resident_bytes() > 30e6
    assert mapped.sum() == 10 << 20


@pytest.mark.parametrize("mode", ["r+", "c", None])
def test_written_values_survive_a_release(tmp_path, mode):
    np.save(tmp_path / "rows.npy", np.zeros(5_000))
    rows = np.load(tmp_path / "rows.npy", mmap_mode=mode)
    rows[:] = 3
    release(rows)
    assert (rows == 3).all()


def test_points_that_are_not_a_matrix_are_refused():
    with pytest.raises(InputError, match=r"points must be a matrix"):
        as_points(np.zeros(4, np.float32))


def test_the_first_row_with_a_value_that_is_not_finite_is_named():
    points = np.zeros((70_000, 1), np.float32)
    points[69_999] = np.nan
    with pytest.raises(InputError, match="row 69999"):
        require_finite(points)


def test_blocks_cover_every_row_once():
    assert row_blocks(5, 2) == [(0, 2), (2, 4), (4, 5)]
    assert row_blocks(0, 2) == []
    with pytest.raises(InputError, match="block_rows"):
        row_blocks(5, 0)


def test_rows_written_in_any_order_give_a_valid_npy_file(tmp_path):
    rows = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    with RowWriter(tmp_path / "rows.npy", 7, 3) as writer:
        writer.write(4, rows[4:])
        writer.write(0, rows[:4])
    assert np.array_equal(np.load(tmp_path / "rows.npy"), rows)


def test_an_error_in_a_block_is_raised_and_cancels_the_rest():
    done = []

    def work(start, stop):
        if start == 2:
            raise InputError("bad block")
        time.sleep(0.002)
        done.append(stop)

    with pytest.raises(InputError, match="bad block"):
        for_each_block(work, row_blocks(300, 1), n_workers=1)
    assert len(done) < 150
    with pytest.raises(InputError, match="n_workers"):
        for_each_block(work, [], n_workers=0)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_one_block_is_worked_on_by_the_caller(n_workers):
    seen, rows = [], []

    def work(start, stop):
        seen.append((start, stop, threading.current_thread()))

    for_each_block(work, row_blocks(5, 8), n_workers=n_workers, on_rows=rows.append)
    assert seen == [(0, 5, threading.current_thread())]
    assert rows == [5]


@pytest.mark.parametrize("above", [0, 10**9])
def test_rows_gathered_from_a_map_equal_those_of_the_array(tmp_path, above):
    array = np.random.default_rng(0).normal(size=(10_000, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", array)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    wanted = np.random.default_rng(1).integers(0, 10_000, 9_000)
    assert np.array_equal(gathered(mapped, wanted, above=above), array[wanted])
    assert np.array_equal(gathered(array, wanted, above=above), array[wanted])


def test_gathering_from_a_large_map_keeps_few_pages_resident(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((200_000, 512), np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    wanted = np.sort(np.random.default_rng(0).integers(0, 200_000, 50_000))
    before = resident_bytes()
    found = gathered(mapped, wanted)
    assert resident_bytes() - before < found.nbytes + (64 << 20)


def test_a_new_map_has_its_disk_space_allocated(tmp_path):
    made = new_map(tmp_path / "made.npy", np.dtype(np.float32), (1000, 300))
    assert (tmp_path / "made.npy").stat().st_blocks * 512 >= made.nbytes
    made[:] = 1
    made.flush()
    assert np.load(tmp_path / "made.npy").sum() == 300_000


def test_a_full_disk_is_an_error_when_a_map_is_created(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        new_map(tmp_path / "made.npy", np.dtype(np.float32), (10, 3))


def test_rows_beyond_int32_are_numbered_by_int64():
    assert index_dtype(2**31 - 1) == np.int32
    assert index_dtype(2**31) == np.int64
