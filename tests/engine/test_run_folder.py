import os
import subprocess
import sys

import pytest

from scrcl.engine.fingerprint import fingerprint_of
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.errors import InputError, ResumeError, StoreError


def claim(path, name="a", **kwargs):
    settings = {"input": {"shape": [3, 2], "content": "c"}, "seed": name}
    return RunFolder.claim(path, fingerprint_of(settings), settings, **kwargs)


def test_a_finished_stage_is_found_again(tmp_path):
    with claim(tmp_path / "out") as folder:
        folder.stage("read").mkdir(parents=True)
        folder.finish({"name": "read", "seconds": 1.0})
    with claim(tmp_path / "out") as folder:
        assert folder.finished("read") == {"name": "read", "seconds": 1.0}
        assert folder.finished("stats") is None


def test_a_stage_whose_folder_is_gone_is_not_finished(tmp_path):
    with claim(tmp_path / "out") as folder:
        folder.finish({"name": "read", "seconds": 1.0})
        assert folder.finished("read") is None


def test_the_folder_of_another_run_is_refused_and_the_difference_named(tmp_path):
    with claim(tmp_path / "out", "a") as folder:
        folder.save()
    with (
        pytest.raises(ResumeError, match=r"`seed` is 'a' there and 'b' here"),
        claim(tmp_path / "out", "b"),
    ):
        pass


def test_restart_starts_over_and_keeps_other_files(tmp_path):
    out = tmp_path / "out"
    with claim(out, "a") as folder:
        folder.stage("read").mkdir(parents=True)
        folder.finish({"name": "read", "seconds": 1.0})
    (out / "notes.txt").write_text("mine")
    with claim(out, "b", restart=True) as folder:
        assert folder.finished("read") is None
        assert not folder.stage("read").exists()
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_with_other_files_is_refused(tmp_path, restart):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ResumeError, match=r"thesis\.tex"), claim(tmp_path, restart=restart):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(StoreError, match=r"OUT .*out"), claim(tmp_path / "out"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"OUT .*out"), claim(tmp_path / "out"):
        pass


def test_a_path_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError), claim(tmp_path / "file" / "out"):
        pass


def fail_in(folder):
    folder.save()
    folder.stage("read").mkdir(parents=True)
    raise InputError("bad")


@pytest.mark.parametrize("existed", [False, True])
def test_bad_input_leaves_nothing_behind(tmp_path, existed):
    out = tmp_path / "out"
    if existed:
        out.mkdir()
    with pytest.raises(InputError), claim(out) as folder:
        fail_in(folder)
    assert out.exists() is existed
    assert not existed or not list(out.iterdir())


def test_bad_input_on_resume_keeps_what_was_finished(tmp_path):
    out = tmp_path / "out"
    with claim(out) as folder:
        folder.save()
    with pytest.raises(InputError), claim(out):
        raise InputError("bad")
    assert read_manifest(out)["stages"] == []


@pytest.mark.usefixtures("warm")
def test_two_processes_cannot_work_in_one_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from scrcl.engine.folder import RunFolder\n"
        "from scrcl.errors import ResumeError\n"
        "try:\n"
        "    with RunFolder.claim(Path(sys.argv[1]), 'f', {}): pass\n"
        "except ResumeError as error: print(error)\n"
    )
    with RunFolder.claim(tmp_path / "out", "f", {}) as folder:
        folder.save()
        output = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "out")],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    assert str(tmp_path / "out") in output


def test_a_folder_without_a_run_has_no_manifest(tmp_path):
    with pytest.raises(StoreError, match=r"no run\.json"):
        read_manifest(tmp_path)


def test_running_a_stage_again_forgets_those_after_it(tmp_path):
    with claim(tmp_path / "out") as folder:
        for name in ("read", "stats", "features"):
            folder.stage(name).mkdir(parents=True)
            (folder.path / f"{name}.csv").touch()
            folder.finish({"name": name, "files": [f"{name}.csv"]})
        before = sorted(tmp_path.rglob("*"))
        folder.begin("train")  # it never ran
        assert sorted(tmp_path.rglob("*")) == before
        folder.begin("stats")
        assert [record["name"] for record in folder.manifest["stages"]] == ["read"]
        assert [path.name for path in folder.path.glob("stages/*")] == ["read"]
        assert [path.name for path in folder.path.glob("*.csv")] == ["read.csv"]
        assert folder.finished("read") is not None
    assert [record["name"] for record in read_manifest(tmp_path / "out")["stages"]] == ["read"]


def test_a_stage_whose_files_elsewhere_are_gone_is_not_finished(tmp_path):
    with claim(tmp_path / "out") as folder:
        folder.stage("report").mkdir(parents=True)
        folder.finish({"name": "report", "files": ["result.h5ad"]})
        assert folder.finished("report") is None
        (folder.path / "result.h5ad").touch()
        assert folder.finished("report") is not None


def test_files_left_by_a_kill_in_the_first_moment_are_ours(tmp_path):
    for name in (".lock", "config.toml", ".run.json.partial"):
        (tmp_path / name).touch()
    with claim(tmp_path) as folder:
        folder.save()
    assert read_manifest(tmp_path)["stages"] == []


@pytest.mark.parametrize("text", ['{"mine": 1}', "[]", "5", '{"fing'])
@pytest.mark.parametrize("restart", [False, True])
def test_a_run_json_of_another_program_is_left_alone(tmp_path, text, restart):
    (tmp_path / "run.json").write_text(text)
    (tmp_path / "stages").mkdir()
    with pytest.raises(StoreError, match=r"run\.json"), claim(tmp_path, restart=restart):
        pass
    assert (tmp_path / "stages").is_dir()
    assert (tmp_path / "run.json").read_text() == text


def test_a_run_json_without_settings_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 2, "fingerprint": "f", "stages": []}')
    with pytest.raises(StoreError, match=r"run\.json must hold the settings"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("levels", [("out",), ("a", "b", "out")])
def test_bad_input_removes_the_folders_above_that_were_made_and_no_other(tmp_path, levels):
    with pytest.raises(InputError), claim(tmp_path.joinpath(*levels)) as folder:
        fail_in(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cheap", [(), ("read", "stats", "features")])
def test_work_that_is_cheap_is_not_kept_where_the_input_is_bad(tmp_path, cheap):
    def work_then_fail(folder):
        for name in ("read", "stats", "features"):
            folder.stage(name).mkdir(parents=True)
            folder.finish({"name": name})
        raise InputError("bad")

    with pytest.raises(InputError), claim(tmp_path / "out", cheap=cheap) as folder:
        work_then_fail(folder)
    assert (tmp_path / "out" / "stages" / "features").is_dir() is not bool(cheap)


def test_a_run_that_fails_leaves_its_neighbours_in_a_folder_that_it_made(tmp_path):
    out = tmp_path / "results" / "a"

    def fail():
        with RunFolder.claim(out, "f", {}) as folder:
            (tmp_path / "results" / "b").mkdir()
            folder.save()
            raise InputError("bad input")

    with pytest.raises(InputError):
        fail()
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["b"]
