"""Which input a run belongs to, what it takes up again, and what a stage that is redone leaves of it."""

import os
import shutil

import pytest

from scrcl.engine.load_config import load_config
from scrcl.engine.plan import plan_run
from scrcl.engine.run import run_files
from scrcl.errors import InputError, ResumeError, StoreError
from scrcl.io.identity import content_of, file_identity
from tests.cells import FAST, make_cells


@pytest.fixture
def path(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def identity(path):
    return content_of(file_identity(path, shape=(3, 4), layer=None))


@pytest.mark.parametrize("size", [0, 5, 16_384, 40_000, 5 << 20])
def test_content_tells_files_apart_not_places_and_times(tmp_path, size):
    first, second = tmp_path / "first", tmp_path / "second"
    content = bytes(i % 251 for i in range(min(size, 1000))) * -(-size // 1000)
    first.write_bytes(content[:size])
    second.write_bytes(content[:size])
    os.utime(second, (1, 1))
    assert identity(first) == identity(second)
    for at in {0, size // 2, size - 1} if 0 < size < 4 << 20 else {0, size - 1} if size else ():
        changed = bytearray(content[:size])
        changed[at] ^= 1
        second.write_bytes(changed)
        assert identity(first) != identity(second)
    second.write_bytes(content[:size] + b"x")
    assert identity(first) != identity(second)


def test_content_of_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "c").mkdir(parents=True)
        for i in range(5):
            (tmp_path / name / "c" / str(i)).write_bytes(bytes([i]) * 100)
    assert identity(tmp_path / "a") == identity(tmp_path / "b")
    (tmp_path / "b" / "c" / "3").rename(tmp_path / "b" / "c" / "7")
    assert identity(tmp_path / "a") != identity(tmp_path / "b")


def test_a_copy_of_the_input_takes_up_the_run(path, tmp_path, config):
    run_files([path], tmp_path / "out", config, until="stats")
    moved = tmp_path / "elsewhere" / "cells.h5ad"
    moved.parent.mkdir()
    shutil.move(path, moved)
    os.utime(moved, (1, 1))
    stage = tmp_path / "out" / "stages" / "stats" / "stats.json"
    before = stage.stat().st_mtime_ns
    run_files([moved], tmp_path / "out", config, until="stats")
    assert stage.stat().st_mtime_ns == before
    time = moved.stat()
    content = bytearray(moved.read_bytes())
    content[len(content) // 2] ^= 1
    moved.write_bytes(content)
    os.utime(moved, ns=(time.st_atime_ns, time.st_mtime_ns))
    with pytest.raises(ResumeError, match="the content of its input changed"):
        run_files([moved], tmp_path / "out", config, until="stats")


def test_from_takes_what_is_not_given_from_the_run(path, tmp_path):
    given = {**FAST, "n_clusters": 4, "seed": 5, "device": "cpu", "format": "zarr"}
    run_files([path], tmp_path / "out", load_config(overrides=given))
    asked = load_config(overrides={"report.n_markers": 3})
    done = run_files([path], tmp_path / "out", asked, start="report")
    assert done.result_path.name == "result.zarr"
    assert not (tmp_path / "out" / "result.h5ad").exists()
    assert [len(row["markers"]) for row in done.clusters] == [3] * 4
    other = load_config(overrides={"seed": 6})
    with pytest.raises(ResumeError, match=r"`seed` is 5 there and 6 here"):
        run_files([path], tmp_path / "out", other, start="report")
    with pytest.raises(StoreError, match="output folder"):
        run_files([path], tmp_path / "new", asked, start="report")


def test_what_was_made_of_a_redone_stage_is_gone(path, tmp_path, config):
    out = tmp_path / "out"
    run_files([path], out, config)
    shutil.rmtree(out / "stages" / "graph")
    run_files([path], out, config, until="graph")
    assert sorted(p.name for p in (out / "stages").iterdir()) == [
        "correct", "features", "graph", "read", "reduce", "stats",
    ]  # fmt: skip
    assert not (out / "result.h5ad").exists()
    assert not (out / "report.html").exists()


def test_a_plan_and_a_run_ask_for_the_same(tmp_path, config):
    make_cells(n_cells=9).write_h5ad(tmp_path / "few.h5ad")
    for refused in (plan_run, lambda paths, asked: run_files(paths, tmp_path / "out", asked)):
        with pytest.raises(
            InputError, match=r"must be at least 10 for 8 neighbours; got 9\. Lower"
        ):
            refused([tmp_path / "few.h5ad"], config)


def test_what_a_plan_says_is_enough_is_enough(path):
    small = plan_run([path], load_config(overrides={**FAST, "memory": "100MB"}))
    assert f"at least {small.least_bytes // 10**6} MB" in small.refusal
    enough = load_config(overrides={**FAST, "memory": f"{small.least_bytes // 10**6}MB"})
    assert plan_run([path], enough).refusal is None


@pytest.mark.parametrize("text", ["8", 8, "8.5"])
def test_memory_without_a_unit_is_refused(text):
    with pytest.raises(InputError, match=rf"memory must have a unit, as in {text}GB"):
        load_config(overrides={"memory": text})


def test_a_filter_that_leaves_no_cell_is_named(path, tmp_path):
    filtered = load_config(overrides={**FAST, "features": {"min_genes": 140}})
    with pytest.raises(InputError, match=r"got 0. Widen the filters \(features.min_genes = 140\)"):
        run_files([path], tmp_path / "out", filtered)
