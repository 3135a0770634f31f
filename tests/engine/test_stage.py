import errno

import pytest

from scrcl.engine.run import run_files
from scrcl.engine.stages import STAGES
from scrcl.engine.stage import Stage
from scrcl.errors import StoreError


def test_a_full_disk_is_named_and_finished_stages_are_kept(cells, tmp_path, config):
    def full(run, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    stages = [Stage(s.name, full) if s.name == "graph" else s for s in STAGES]
    with pytest.raises(StoreError, match="must have room"):
        run_files([cells], tmp_path / "out", config, stages=stages)
    folder = tmp_path / "out" / "stages"
    assert (folder / "reduce").is_dir()
    assert not (folder / "graph").exists()
    result = run_files([cells], tmp_path / "out", config)
    assert result.report_path.exists()
