import errno

import pytest

from scrcl._progress import Silent
from scrcl.engine import disk
from scrcl.engine.run import run_files
from scrcl.engine.stages import STAGES
from scrcl.engine.stages.graph import GraphStage
from scrcl.errors import StoreError

FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EFBIG, "File too large"),
    OSError("160000 requested and 46064 written"),
    OSError("Not enough free space to write 32000000 bytes after offset 128"),
    OSError("Can't write data (file write failed: errno = 28, error message = 'No space left')"),
    OSError(
        "Can't write data (file write failed: errno = 122, error message = 'Disk quota exceeded')"
    ),
]


class FullDisk(GraphStage):
    def __init__(self, error):
        self.error = error

    def run(self, context, folder):
        raise self.error


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_disk_is_named_and_finished_stages_are_kept(error, cells, tmp_path, config):
    stages = [FullDisk(error) if stage.name == "graph" else stage for stage in STAGES]
    with pytest.raises(StoreError, match=r"disk of .*out .* quota"):
        run_files([cells], tmp_path / "out", config, stages=stages)
    folder = tmp_path / "out" / "stages"
    assert (folder / "reduce").is_dir()
    assert not (folder / "graph").exists()
    result = run_files([cells], tmp_path / "out", config)
    assert result.report_path.exists()


class Hears(Silent):
    def __init__(self):
        self.heard = []

    def run_started(self, text):
        self.heard.append(text)

    def note(self, message):
        self.heard.append(message)


def test_a_run_begins_with_what_it_reads_and_may_take_unless_it_is_finished(
    cells, tmp_path, config
):
    first, again = Hears(), Hears()
    run_files([cells], tmp_path / "out", config, reporter=first)
    assert "240 cells, 150 genes" in first.heard[0]
    assert str(tmp_path / "out") in first.heard[0]
    assert "peak memory" in first.heard[1]
    run_files([cells], tmp_path / "out", config, reporter=again)
    assert again.heard == []


def test_a_disk_with_little_room_is_noted_before_the_work(cells, tmp_path, config, monkeypatch):
    monkeypatch.setattr(disk, "_free_bytes", lambda _: 1000)
    hears = Hears()
    run_files([cells], tmp_path / "out", config, until="read", reporter=hears)
    assert not any("may become full" in text for text in hears.heard)
    run_files([cells], tmp_path / "out", config, until="features", reporter=hears)
    (note,) = [text for text in hears.heard if "may become full" in text]
    assert "1.00 kB are free" in note


def test_a_stage_that_takes_more_than_the_memory_is_noted(cells, tmp_path, config, monkeypatch):
    monkeypatch.setattr("scrcl.engine.usage.resident_bytes", lambda: 2 * config.memory)
    hears = Hears()
    run_files([cells], tmp_path / "out", config, until="read", reporter=hears)
    (note,) = [text for text in hears.heard if text.startswith("The stage read took")]
    assert "`memory` is" in note
